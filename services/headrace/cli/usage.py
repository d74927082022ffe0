"""``headrace usage``"""

from __future__ import annotations

from headrace.cli.output import print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.index import UsageIndex, UsagePage, UsageView
from headrace.messages.errors import BadMessage
from headrace.postgres.pool import open_pool

_NOWHERE = Target()


def usage(
    *,
    agent: str | None = None,
    since: str = "24h",
    window: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Runs, errors, tokens, cost and latency by agent.

    Percentiles are within 2 %. Counts are as of the last flush of analytics, some seconds ago.

    Example: `headrace usage --since 7d --window 1d --json`

    Parameters
    ----------
    agent
        Only of this agent.
    since
        How far back (`24h`, `7d`), or from when (ISO 8601).
    window
        A row for each such span (`1h`), instead of one in all.
    json
        Print JSON.
    """

    async def read() -> UsagePage:
        settings = target.settings()
        async with open_pool(settings, min_size=1, max_size=2) as pool:
            return await UsageIndex(pool).usage(settings.tenant, agent=agent, since=since, window=window)

    try:
        page = run_async(read())
    except BadMessage as error:
        raise stop(str(error), 2) from None
    if json:
        print_json(page)
        return
    columns = (
        "agent",
        "from",
        "runs",
        "failed",
        "errors",
        "tokens in",
        "out",
        "cost $",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "models",
    )
    print_table(columns, [_row(one) for one in page.usage], empty="no finished runs")


def _row(one: UsageView) -> tuple[object, ...]:
    models = ", ".join(model.model for model in one.models)
    rate = f"{one.error_rate:.1%}"
    latency = (_whole(one.latency_p50_ms), _whole(one.latency_p95_ms), _whole(one.latency_p99_ms))
    tokens = (one.input_tokens, one.output_tokens)
    return one.agent_name, one.window_start, one.runs, one.failed, rate, *tokens, one.cost_usd, *latency, models


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)

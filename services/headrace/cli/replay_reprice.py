"""``headrace replay reprice``"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from headrace.cli.output import note, print_json, print_table, stop
from headrace.cli.replay_detached import detach as detached
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.index.spent import Spent, spent_by_model
from headrace.index.usage import moment
from headrace.messages.errors import BadMessage
from headrace.models.rates import InvalidRates, PriceTable, load_rates, rates_of
from headrace.postgres.pool import open_pool
from headrace.replay.reprice import Repriced, facts, reprice, total
from headrace.settings import MeshSettings

_NOWHERE: Final = Target()


def run(
    *,
    prices: Path | None = None,
    model: str | None = None,
    since: str,
    until: str | None = None,
    agent: str | None = None,
    detach: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """What the runs of some time would have cost at other prices, by agent and model. From the tokens that are recorded: no model
    is asked, and nothing is changed.

    With --model all of them count as that model's tokens; how many tokens another model would have used, only `headrace replay
    shadow` can tell. Exits with 2 if the table lacks a model.

    Example: `headrace replay reprice --model openai:gpt-4o-mini --since 7d`

    Parameters
    ----------
    prices
        YAML or JSON: for each model US dollars per million tokens, such as `openai:gpt-4o: {input: 2.5, output: 10}`;
        cache_read and cache_write where they differ from input.
    model
        Everything at the price of this model, by the price list of this release.
    since
        How far back (`24h`, `7d`), or from when (ISO 8601), by when runs were created.
    until
        Up to this time. Default: now.
    agent
        Only of this agent.
    detach
        Hand it to the service `replay`, and return: `headrace replay watch NAME` shows it.
    json
        Print JSON.
    """
    if (prices is None) == (model is None):
        raise stop("say --prices FILE, or --model", 2)
    try:
        now = datetime.now(UTC)
        start, end = moment(since, now), moment(until, now) if until else now
        table = load_rates(prices) if prices else rates_of(model or "")
        if detach:
            given = msgspec.to_builtins(table.rates) if prices else None
            detached(
                target, "reprice", json=json, prices=given, model=model, since=start, until=until and end, agent=agent
            )
            return
        rows = reprice(run_async(_spent(target.settings(kafka=False), start, end, agent)), table)
    except (InvalidRates, BadMessage) as error:
        raise stop(str(error), 2) from None
    except OSError as error:
        raise stop(f"{prices}: {error.strerror}", 2) from None
    if json:
        print_json(facts(rows, table, start, end))
    else:
        _show(rows, table, start)


async def _spent(settings: MeshSettings, since: datetime, until: datetime, agent: str | None) -> list[Spent]:
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        return await spent_by_model(pool, settings.tenant, since=since, until=until, agent=agent)


def _show(rows: list[Repriced], table: PriceTable, since: datetime) -> None:
    columns = ("agent", "model", "runs", "tokens in", "out", "cost $", "repriced $", "difference $", "of it")
    shown = [*rows, total(rows)] if rows else []
    print_table(
        columns,
        [_row(row) for row in shown],
        empty=f"no run asked a model since {since.isoformat(timespec='seconds')}",
        whole=("agent",),
    )
    note(f"prices: {table.name}; tokens as they were recorded")


def _row(row: Repriced) -> tuple[object, ...]:
    names = (row.agent, row.model) if row.agent else ("all", "")
    money = (f"{row.cost_usd:.4f}", f"{row.repriced_usd:.4f}", f"{row.difference_usd:+.4f}")
    ratio = "-" if row.ratio is None else f"{row.ratio:.1%}"
    return *names, row.runs, row.input_tokens, row.output_tokens, *money, ratio

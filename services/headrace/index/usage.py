"""The queries behind ``GET /v1/usage`` and ``headrace usage``: stored windows, added up to longer ones. Within one tenant, bounded.

Adding up happens in the database, also of the latency histograms, so a month costs as much memory as a minute.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from headrace.index.views import ModelUsageView, UsagePage, UsageView
from headrace.messages.errors import BadMessage
from headrace.messages.totals import NANO, Sums, Totals
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

MAX_ROWS: Final = 1_000
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_Group = tuple[str, datetime]

# $1 tenant, $2 agent or null, $3 since, $4 until, $5 seconds of a window or null for one window in all
_FROM: Final = """
FROM (
    SELECT agent_name, totals, final, runs, window_end, coalesce(
        to_timestamp(floor(extract(epoch FROM window_start) / $5::int) * $5::int), $3::timestamptz
    ) AS start
    FROM usage_windows
    WHERE tenant = $1 AND ($2::text IS NULL OR agent_name = $2) AND window_start >= $3 AND window_start < $4
) AS found
"""
_SUMS: Final = f"""
SELECT agent_name, start, bool_and(final) AS final, max(window_end) AS last,
    sum((totals->'sums'->>0)::bigint)::bigint AS runs, sum((totals->'sums'->>1)::bigint)::bigint AS failed,
    sum((totals->'sums'->>2)::bigint)::bigint AS input_tokens, sum((totals->'sums'->>3)::bigint)::bigint AS output_tokens,
    sum((totals->'sums'->>4)::bigint)::bigint AS cost_nano,
    sum((totals->>'latency_sum_ms')::bigint)::bigint AS latency_sum_ms, max((totals->>'latency_max_ms')::bigint) AS latency_max_ms
{_FROM} GROUP BY agent_name, start ORDER BY start DESC, agent_name LIMIT {MAX_ROWS + 1}
"""
_LATENCY: Final = f"""
SELECT agent_name, start, key::int AS bucket, sum(value::bigint)::bigint AS count
{_FROM} CROSS JOIN LATERAL jsonb_each_text(totals->'latency') GROUP BY agent_name, start, key
"""
_MODELS: Final = f"""
SELECT agent_name, start, key AS model,
    sum((value->>0)::bigint)::bigint AS runs, sum((value->>1)::bigint)::bigint AS failed,
    sum((value->>2)::bigint)::bigint AS input_tokens, sum((value->>3)::bigint)::bigint AS output_tokens,
    sum((value->>4)::bigint)::bigint AS cost_nano
{_FROM} CROSS JOIN LATERAL jsonb_each(totals->'models') GROUP BY agent_name, start, key ORDER BY key
"""


class UsageIndex:
    """Reads on a pool. Raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def usage(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        since: str = "24h",
        window: str | None = None,
        now: datetime | None = None,
    ) -> UsagePage:
        """Usage by agent, newest first. ``since`` is a span back from ``now`` (``24h``) or an ISO 8601 time; ``window`` a span,
        None for one sum in all. A stored window belongs to the one that it starts in.

        Raises:
            BadMessage: ``since`` or ``window`` is neither, or the answer would have more than ``MAX_ROWS`` rows.
        """
        until = now or datetime.now(UTC)
        start = moment(since, until)
        seconds = None if window is None else _seconds(window, "window")
        arguments = (storable_text(tenant), None if agent is None else storable_text(agent), start, until, seconds)
        with translated():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                sums = await connection.fetch(_SUMS, *arguments)
                if len(sums) > MAX_ROWS:
                    raise BadMessage(
                        f"more than {MAX_ROWS} rows: ask for a longer window", cause="too_much", where="window"
                    )
                latency = await connection.fetch(_LATENCY, *arguments)
                models = await connection.fetch(_MODELS, *arguments)
        return UsagePage(since=start, until=until, usage=_views(sums, latency, models, seconds, until))


def _views(
    sums: Sequence[Any], latency: Sequence[Any], models: Sequence[Any], seconds: int | None, until: datetime
) -> tuple[UsageView, ...]:
    buckets: dict[_Group, dict[int, int]] = {}
    for row in latency:
        buckets.setdefault((row["agent_name"], row["start"]), {})[row["bucket"]] = row["count"]
    by_model: dict[_Group, list[ModelUsageView]] = {}
    for row in models:
        by_model.setdefault((row["agent_name"], row["start"]), []).append(_model(row))
    views = []
    for row in sums:
        group = (row["agent_name"], row["start"])
        end = until if seconds is None else row["start"] + timedelta(seconds=seconds)
        views.append(_view(row, end, buckets.get(group, {}), by_model.get(group, [])))
    return tuple(views)


def _view(row: Any, end: datetime, buckets: dict[int, int], models: list[ModelUsageView]) -> UsageView:
    sums = Sums(row["runs"], row["failed"], row["input_tokens"], row["output_tokens"], row["cost_nano"])
    totals = Totals(sums, {}, buckets, row["latency_sum_ms"], row["latency_max_ms"])
    count = totals.latency_count
    return UsageView(
        agent_name=row["agent_name"],
        window_start=row["start"],
        window_end=end,
        final=row["final"] and row["last"] >= end,
        runs=sums.runs,
        completed=sums.runs - sums.failed,
        failed=sums.failed,
        error_rate=totals.error_rate,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=sums.cost_usd,
        latency_mean_ms=totals.latency_sum_ms / count if count else None,
        latency_max_ms=totals.latency_max_ms if count else None,
        latency_p50_ms=totals.percentile(0.50),
        latency_p95_ms=totals.percentile(0.95),
        latency_p99_ms=totals.percentile(0.99),
        models=tuple(models),
    )


def _model(row: Any) -> ModelUsageView:
    return ModelUsageView(
        model=row["model"],
        runs=row["runs"],
        failed=row["failed"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost_usd=row["cost_nano"] / NANO,
    )


def moment(text: str, until: datetime) -> datetime:
    """A span back from ``until`` (``24h``), or an ISO 8601 time; UTC if it names no offset. Raises ``BadMessage``."""
    if _SPAN.fullmatch(text):
        return until - timedelta(seconds=_seconds(text, "since"))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadMessage("neither a span such as 24h nor an ISO 8601 time", cause="since", where="since") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _seconds(text: str, where: str) -> int:
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= 366 * 86_400:
        raise BadMessage("not a span such as 60s, 5m, 1h or 7d, of a year at most", cause=where, where=where)
    return seconds

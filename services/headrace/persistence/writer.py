"""One database transaction for many records' rows. All or nothing, and repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import asyncpg

from headrace.persistence.merge import RUN_COLUMNS, merge_all
from headrace.persistence.rows import ResultRow, Rows
from headrace.persistence.tables import EVENTS, RESULTS, RUNS, SESSION_RUNS, STEPS, Table
from headrace.postgres.errors import encoding, translated

Row = Sequence[Any]

_RUN_ROW: Final = attrgetter(*RUN_COLUMNS)
_PLACE: Final = slice(0, 3)  # topic, partition, offset: the key of a step
_UID: Final = 0
_RECEIVED: Final = list(EVENTS.columns).index("received_at")
_EVENT_PLACE: Final = slice(-2, None)  # partition, offset
_SESSION_ENDED: Final = list(SESSION_RUNS.columns).index("completed_at")
_CREATED: Final = ResultRow._fields.index("created_at")


class Writer:
    """Writes batches of ``Rows``. Raises ``BadMessage`` if Postgres refuses any row of a batch for its data."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def write(self, batch: Sequence[Rows]) -> list[None]:
        statements = list(_statements(batch))
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                for table, rows in statements:
                    await connection.execute(table.insert, *map(list, zip(*rows, strict=True)))
        return [None] * len(batch)


def _statements(batch: Sequence[Rows]) -> Iterable[tuple[Table, list[Row]]]:
    """The tables with something to write, always in this order: two writers can't wait for each other."""
    runs = merge_all(rows.run for rows in batch if rows.run)
    steps = _unique((rows.step for rows in batch if rows.step), lambda row: tuple(row[_PLACE]))
    results = _unique(
        sorted((rows.result for rows in batch if rows.result), key=lambda row: row[_CREATED]), lambda row: row.result_id
    )
    events = _unique(
        sorted((rows.event for rows in batch if rows.event), key=lambda row: (row[_RECEIVED], *row[_EVENT_PLACE])),
        lambda row: row[_UID],
    )
    sessions = _unique(
        sorted((rows.session for rows in batch if rows.session), key=lambda row: row[_SESSION_ENDED]),
        lambda row: (row[0], row[2]),
    )
    writes: tuple[tuple[Table, list[Row]], ...] = (
        (RUNS, [_RUN_ROW(run) for run in runs]),
        (STEPS, steps),
        (RESULTS, results),
        (EVENTS, events),
        (SESSION_RUNS, sessions),
    )
    for table, rows in writes:
        if rows:
            yield table, rows


def _unique(rows: Iterable[Any], key: Callable[[Any], Any]) -> list[Row]:
    """The first row of each key, in the order of the keys: a statement can't touch a row twice."""
    first: dict[Any, Row] = {}
    for row in rows:
        first.setdefault(key(row), row)
    return [first[name] for name in sorted(first)]

"""The live index and the one beside, row by row, by the digest of each whole row, compared by Postgres.

equal     the same row on both sides
moving    rows of records past the bounds, and of runs that have such: they are not compared
gone      differs, or is in the live one alone, and records of it are deleted: no rebuild could make it again
missing   in the live one alone, though its records are there
new       beside alone: the live index has lost it
differs   on both sides, and not the same, though its records are there
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from headrace.postgres.errors import translated
from headrace.replay.beside.tables import Connection, Place
from headrace.replay.ledger import INDEX_TABLES
from headrace.replay.start import Partition
from headrace.runtime.ranges import Stretch

_TIMEOUT_S: Final = 3_600.0
_SHOWN: Final = 5
_BOOKS: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS beside_bounds (topic text, partition integer, first bigint, until bigint);
CREATE TEMPORARY TABLE IF NOT EXISTS beside_late (tenant text, run_id text);
CREATE TEMPORARY TABLE IF NOT EXISTS beside_gone (tenant text, run_id text);
TRUNCATE beside_bounds, beside_late, beside_gone;
"""
_PLACED: Final = "FROM beside_bounds o WHERE o.topic = t.topic AND o.partition = t.partition AND"
_OF_RECORD: Final = (
    f'EXISTS (SELECT {_PLACED} t."offset" >= o.until)',
    f'EXISTS (SELECT {_PLACED} t."offset" < o.first)',
)


def _of_run(name: str) -> tuple[str, str]:
    """Whether a row's run is late, and whether records of it are gone."""
    late, gone = (
        f"(t.tenant, t.{name}) IN (SELECT tenant, run_id FROM {books})"  # noqa: S608 (our own names)
        for books in ("beside_late", "beside_gone")
    )
    return late, gone


_KEYS: Final[Mapping[str, tuple[str, tuple[str, str]]]] = {  # table -> its key as text; whether a row is late, or gone
    "runs": ("t.tenant || '/' || t.run_id", _of_run("run_id")),
    "run_steps": ("t.topic || '/' || t.partition || '/' || t.\"offset\"", _OF_RECORD),
    "agent_results": ("t.tenant || '/' || t.job_id", _of_run("job_id")),
    "events": ("t.uid", _OF_RECORD),
    "session_runs": ("t.tenant || '/' || t.run_id", _of_run("run_id")),
}
_NAMED: Final = ("missing", "new", "differs", "gone")
_COUNTED: Final = ("equal", "moving", *_NAMED)
_STATE: Final = """
CASE WHEN l.late OR b.late THEN 'moving' WHEN l.digest = b.digest THEN 'equal' WHEN l.gone THEN 'gone'
WHEN b.key IS NULL THEN 'missing' WHEN l.key IS NULL THEN 'new' ELSE 'differs' END
"""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """Rows of one table. The digests are over all rows but the moving ones, whatever their order."""

    table: str
    live: int
    beside: int
    equal: int
    moving: int
    gone: int
    missing: int
    new: int
    differs: int
    live_digest: str
    beside_digest: str
    examples: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every row that was compared is the same on both sides."""
        return self.gone == self.missing == self.new == self.differs == 0


async def compare(connection: Connection, place: Place, bounds: Mapping[Partition, Stretch]) -> list[TableComparison]:
    """``bounds``: by partition the oldest record that is there, and the offset up to which both have read."""
    with translated():
        await connection.execute(_BOOKS)
        rows = [(topic, partition, *stretch) for (topic, partition), stretch in bounds.items()]
        await connection.copy_records_to_table("beside_bounds", records=rows)
        async with connection.transaction(isolation="repeatable_read"):
            await _note_runs(connection, place)
            return [await _compared(connection, place, table) for table in INDEX_TABLES]


async def _note_runs(connection: Connection, place: Place) -> None:
    """Which runs are late, on either side, and of which the live index has records that are deleted."""
    late, gone = _OF_RECORD
    for schema in (f'"{place.live}"', place.beside):
        await connection.execute(
            f"INSERT INTO beside_late SELECT DISTINCT tenant, run_id FROM {schema}.run_steps t WHERE {late}",  # noqa: S608 (our own names)
            timeout=_TIMEOUT_S,
        )
    await connection.execute(
        f'INSERT INTO beside_gone SELECT DISTINCT tenant, run_id FROM "{place.live}".run_steps t WHERE {gone}',  # noqa: S608 (our own names)
        timeout=_TIMEOUT_S,
    )


async def _compared(connection: Connection, place: Place, table: str) -> TableComparison:
    key, (late, gone) = _KEYS[table]
    sides = [
        f'SELECT {key} AS key, md5(t::text) AS digest, {late} AS late, {gone} AS gone FROM "{schema}".{table} t'  # noqa: S608 (our own names)
        for schema in (place.live, place.beside)
    ]
    rows = await connection.fetch(
        f"""
        WITH rows AS (SELECT {_STATE} AS state, key, l.digest AS of_live, b.digest AS of_beside
            FROM ({sides[0]}) l FULL JOIN ({sides[1]}) b USING (key))
        SELECT state, count(*) AS count, count(of_live) AS live, count(of_beside) AS beside,
            bit_xor(hashtextextended(of_live, 0)) AS live_digest, bit_xor(hashtextextended(of_beside, 0)) AS beside_digest,
            (array_agg(key ORDER BY key))[1:{_SHOWN}] AS keys
        FROM rows GROUP BY state
        """,  # noqa: S608 (our own names)
        timeout=_TIMEOUT_S,
    )
    found = {row["state"]: row for row in rows}
    named = [f"{name}: {key}" for name in _NAMED if name in found for key in found[name]["keys"]]
    fixed = [row for state, row in found.items() if state != "moving"]
    return TableComparison(
        table,
        live=sum(row["live"] for row in rows),
        beside=sum(row["beside"] for row in rows),
        live_digest=_digest(row["live_digest"] for row in fixed),
        beside_digest=_digest(row["beside_digest"] for row in fixed),
        examples=tuple(named[:_SHOWN]),
        **{name: found[name]["count"] if name in found else 0 for name in _COUNTED},
    )


def _digest(parts: Iterable[int | None]) -> str:
    """Digests of parts of a set of rows, as that of all of them."""
    return f"{reduce(xor, (part or 0 for part in parts), 0) & (2**64 - 1):016x}"

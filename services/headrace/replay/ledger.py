"""The books of one rebuild: the keys that the topics hold, and those of the index before and after, compared by Postgres.

They are temporary tables of one connection, so a rebuild of any size needs no memory of its own, and nothing is left of it when it
ends, however it ends. Rows of records past the plan's ends are left out everywhere: the mesh goes on while it is rebuilt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import asyncpg

from headrace.messages.errors import FatalError
from headrace.persistence.tables import EVENTS, RESULTS, RUNS, SESSION_RUNS, STEPS
from headrace.postgres.errors import translated
from headrace.replay.identity import SEPARATOR, Key
from headrace.replay.start import Partition

INDEX_TABLES: Final = tuple(table.name for table in (RUNS, STEPS, RESULTS, EVENTS, SESSION_RUNS))
Side = Literal["before", "after"]
Held = tuple[str, str, str]  # table, key, place of the record that says so

_TIMEOUT_S: Final = 3_600.0  # of a statement over the whole index
_LOCK: Final = 0x7265706C6179  # "replay": one rebuild of an index at a time
_SHOWN: Final = 5
_BOOKS: Final = f"""
CREATE TEMPORARY TABLE replay_ends (topic text, partition integer, until bigint);
CREATE TEMPORARY TABLE replay_held (name text, key text, place text);
CREATE TEMPORARY TABLE replay_dead (place text);
CREATE TEMPORARY TABLE replay_before (name text, key text);
CREATE TEMPORARY TABLE replay_after (name text, key text);

CREATE TEMPORARY VIEW replay_rows (name, key) AS
WITH steps AS (
    SELECT s.topic, s.partition, s."offset", s.tenant, s.run_id, s.kind FROM run_steps s
    JOIN replay_ends e ON e.topic = s.topic AND e.partition = s.partition AND s."offset" < e.until
), told AS (SELECT DISTINCT tenant, run_id, kind = 'result' AS ended FROM steps)
SELECT 'run_steps', topic || '/' || partition || '/' || "offset" FROM steps
UNION ALL
SELECT 'runs', r.tenant || '{SEPARATOR}' || r.run_id FROM runs r
WHERE (r.tenant, r.run_id) IN (SELECT tenant, run_id FROM told)
UNION ALL
SELECT 'agent_results', a.tenant || '{SEPARATOR}' || a.job_id FROM agent_results a
WHERE (a.tenant, a.job_id) IN (SELECT tenant, run_id FROM told WHERE ended)
UNION ALL
SELECT 'session_runs', x.tenant || '{SEPARATOR}' || x.run_id FROM session_runs x
WHERE (x.tenant, x.run_id) IN (SELECT tenant, run_id FROM told WHERE ended)
UNION ALL
SELECT 'events', v.uid FROM events v
JOIN replay_ends e ON e.topic = v.topic AND e.partition = v.partition AND v."offset" < e.until;

CREATE TEMPORARY VIEW replay_lost AS
SELECT name, key FROM replay_before EXCEPT SELECT name, key FROM replay_held;

CREATE TEMPORARY VIEW replay_missing AS
SELECT name, key FROM replay_held WHERE place NOT IN (SELECT place FROM replay_dead)
UNION SELECT name, key FROM replay_before
EXCEPT SELECT name, key FROM replay_after;

CREATE TEMPORARY VIEW replay_unexplained AS
SELECT name, key FROM replay_after
EXCEPT (SELECT name, key FROM replay_held UNION SELECT name, key FROM replay_before);

CREATE TEMPORARY VIEW replay_doubled AS
SELECT name, key, count(*) - 1 AS times FROM replay_after GROUP BY name, key HAVING count(*) > 1;
"""  # noqa: S608 (a constant of ours)
_EXAMPLES: Final = """
(SELECT 'missing' AS what, key FROM replay_missing WHERE name = $1 ORDER BY key LIMIT $2)
UNION ALL
(SELECT 'unexplained', key FROM replay_unexplained WHERE name = $1 ORDER BY key LIMIT $2)
UNION ALL
(SELECT 'doubled', key FROM replay_doubled WHERE name = $1 ORDER BY key LIMIT $2)
"""


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One table, or topic. ``missing`` rows should be there and are not; ``unexplained`` are there and no record stands for them;
    ``doubled`` are there once more than they should be."""

    table: str
    before: int
    held: int
    after: int
    missing: int
    unexplained: int
    doubled: int
    examples: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.missing == self.unexplained == self.doubled == 0


class RebuildUnderway(FatalError):
    """Another rebuild of this index has not ended."""


class Ledger:
    """Books on one connection of their own. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self._connection = connection

    async def note_held(self, rows: Iterable[Held]) -> None:
        """Keys that a batch of records stands for, each with its record's place."""
        with translated():
            await self._connection.copy_records_to_table("replay_held", records=list(rows))

    async def note_dead(self, places: Iterable[str]) -> None:
        """Places of records that were dead-lettered: no row is owed for them."""
        with translated():
            await self._connection.copy_records_to_table("replay_dead", records=[(place,) for place in places])

    async def forget(self, side: Side) -> None:
        """Begin that side again."""
        with translated():
            await self._connection.execute(f"TRUNCATE replay_{side}")

    async def note(self, side: Side, rows: Iterable[Key]) -> None:
        """Keys that are there."""
        with translated():
            await self._connection.copy_records_to_table(f"replay_{side}", records=list(rows))

    async def note_index(self, side: Side) -> None:
        """The keys of the index as it is now; may be repeated, the last one counts."""
        await self.forget(side)
        with translated():
            await self._connection.execute(
                f"INSERT INTO replay_{side} SELECT name, key FROM replay_rows",  # noqa: S608 (one of two names)
                timeout=_TIMEOUT_S,
            )

    async def lost_by_emptying(self) -> dict[str, int]:
        """Rows by table that no record of the plan would make again."""
        return await self._counts("SELECT name, count(*) FROM replay_lost GROUP BY name")

    async def compare(self, names: Iterable[str], *, emptied: bool) -> list[TableCheck]:
        """For each of ``names``: what should be there against what is. Call it once.

        After an emptying, only what the plan's records say should be there.
        """
        before = await self._counts("SELECT name, count(DISTINCT key) FROM replay_before GROUP BY name")
        held = await self._counts("SELECT name, count(DISTINCT key) FROM replay_held GROUP BY name")
        after = await self._counts("SELECT name, count(DISTINCT key) FROM replay_after GROUP BY name")
        if emptied:
            with translated():
                await self._connection.execute("TRUNCATE replay_before")
        missing = await self._counts("SELECT name, count(*) FROM replay_missing GROUP BY name")
        unexplained = await self._counts("SELECT name, count(*) FROM replay_unexplained GROUP BY name")
        doubled = await self._counts("SELECT name, sum(times)::bigint AS count FROM replay_doubled GROUP BY name")
        wrong = {*missing, *unexplained, *doubled}
        return [
            TableCheck(
                table=name,
                before=before.get(name, 0),
                held=held.get(name, 0),
                after=after.get(name, 0),
                missing=missing.get(name, 0),
                unexplained=unexplained.get(name, 0),
                doubled=doubled.get(name, 0),
                examples=await self._examples(name) if name in wrong else (),
            )
            for name in names
        ]

    async def totals(self) -> dict[str, int]:
        """Rows of each index table, all of them."""
        return {name: await self._count(f"SELECT count(*) FROM {name}") for name in INDEX_TABLES}  # noqa: S608

    async def deliveries(self, since: datetime, until: datetime) -> int:
        """Delivery ids first seen in this span: coordination, which no rebuild may touch."""
        return await self._count("SELECT count(*) FROM deliveries WHERE seen_at >= $1 AND seen_at < $2", since, until)

    async def now(self) -> datetime:
        """The database's clock."""
        with translated():
            at: datetime = await self._connection.fetchval("SELECT now()")
        return at

    @asynccontextmanager
    async def emptying(self) -> AsyncIterator[None]:
        """The index is emptied when this is left without an error; inside, nobody reads or writes it."""
        with translated():
            async with self._connection.transaction():
                await self._connection.execute("SET LOCAL lock_timeout = '30s'")
                await self._connection.execute(f"TRUNCATE {', '.join(INDEX_TABLES)}")
                yield

    async def _examples(self, name: str) -> tuple[str, ...]:
        with translated():
            rows = await self._connection.fetch(_EXAMPLES, name, _SHOWN, timeout=_TIMEOUT_S)
        return tuple(f"{row['what']}: {row['key'].replace(SEPARATOR, '/')}" for row in rows)

    async def _counts(self, sql: str) -> dict[str, int]:
        with translated():
            rows = await self._connection.fetch(sql, timeout=_TIMEOUT_S)
        return {row["name"]: row["count"] for row in rows}

    async def _count(self, sql: str, *arguments: object) -> int:
        with translated():
            count: int = await self._connection.fetchval(sql, *arguments, timeout=_TIMEOUT_S)
        return count


@asynccontextmanager
async def open_ledger(pool: asyncpg.Pool, ends: Mapping[Partition, int]) -> AsyncIterator[Ledger]:
    """Empty books. ``ends`` are the plan's: what is at them or past them does not count.

    Raises:
        RebuildUnderway: somebody else has books open on this database.
        DependencyUnavailable: Postgres is away, or has no tables yet.
    """
    with translated():
        connection = await pool.acquire()
    try:
        with translated():
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                raise RebuildUnderway("another rebuild of this index has not ended: wait for it, or end it")
            await connection.execute(_BOOKS)
            rows = [(topic, partition, end) for (topic, partition), end in ends.items()]
            await connection.copy_records_to_table("replay_ends", records=rows)
        yield Ledger(connection)
    finally:
        with translated():
            if not connection.is_closed():
                await connection.execute("DISCARD TEMPORARY")
            await pool.release(connection)  # the pool's reset gives the advisory lock back

"""The schema's migrations: numbered SQL files beside this one, applied in order, once, and never edited after that.

All pending migrations run in one transaction behind an advisory lock, so any number of processes may start at once, and a
failed start leaves the schema as it was. Each applied text's checksum is kept: an edited file or a database that is ahead of
the code stops the process, since either means that code and schema would disagree silently.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.observe.logging import get_logger
from headrace.postgres.errors import from_postgres, translated

log = get_logger(__name__)

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK: Final = 0x6865616472616365  # "headrace": the advisory lock of this list
_TIMEOUT_S: Final = 600.0  # for one migration, and for the wait while another process migrates
_PAUSE_S: Final = 1.0  # between two attempts while the server is away
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS headrace_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


def packaged() -> tuple[Migration, ...]:
    """The migrations of this version of headrace, in order. Raises ``FatalError`` if the numbers have a gap."""
    found = []
    for file in files("headrace.postgres").joinpath("migrations").iterdir():
        if match := _NAME.fullmatch(file.name):
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise FatalError("migrations are not numbered 1, 2, 3, ... without a gap")
    return tuple(found)


async def migrate(pool: asyncpg.Pool, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring the schema up to date; the names of what was applied now (empty: it was).

    Raises:
        FatalError: an applied migration was edited, the database is ahead of the code, or a migration failed.
        DependencyUnavailable: Postgres is away.
    """
    wanted = packaged() if migrations is None else tuple(migrations)
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_TIMEOUT_S)
            await connection.execute(_TABLE)
            rows = await connection.fetch("SELECT number, name, checksum FROM headrace_migrations")
            pending = plan(wanted, {row["number"]: (row["name"], row["checksum"]) for row in rows})
            for migration in pending:
                await _apply(connection, migration)
    for migration in pending:
        log.info("migration_applied", migration=str(migration))
    return [str(migration) for migration in pending]


async def migrate_when_up(pool: asyncpg.Pool) -> None:
    """``migrate``, waiting for a server that is away. Raises ``FatalError`` as it does."""
    while True:
        try:
            await migrate(pool)
        except DependencyUnavailable as error:
            log.warning("migration_waits", reason=str(error))
            await asyncio.sleep(_PAUSE_S)
        else:
            return


def plan(wanted: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> list[Migration]:
    """What is still to apply, given ``applied`` as number -> (name, checksum)."""
    known = {migration.number: migration for migration in wanted}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise FatalError(
                f"the database has migration {number:04}_{name}, which this version of headrace does not know: "
                "run a version at least as new as the one that made it"
            )
        if known[number].checksum != checksum:
            raise FatalError(
                f"migration {known[number]} was changed after it had been applied: restore its text and add a new migration"
            )
    return [migration for migration in wanted if migration.number not in applied]


async def _apply(connection: asyncpg.pool.PoolConnectionProxy, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql, timeout=_TIMEOUT_S)
    except asyncpg.PostgresError as error:
        if isinstance(from_postgres(error), DependencyUnavailable):
            raise
        raise FatalError(f"migration {migration} failed: {error.args[0]} (SQLSTATE {error.sqlstate})") from error
    await connection.execute(
        "INSERT INTO headrace_migrations (number, name, checksum) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.checksum,
    )

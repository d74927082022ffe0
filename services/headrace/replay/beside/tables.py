"""The schema beside the live index, by Postgres' own account of the live tables: columns, constraints, indexes, triggers, grants.

    make    the five tables of the index, empty, with the live ones' indexes under their names; no triggers, so nothing counts
            what is filed there
    swap    in one transaction: live tables to the schema ``headrace_before_NAME``, those beside to the live one's place, with the
            triggers and grants that were there
    drop    what is beside, and what was before

What budgets have counted stays: their accounts hang on a trigger of ``runs``, and include runs that no record tells of any more.
Runs of which the new index knows something else (it has read further, or the old one had lost them) are first merged into the old
one, as persistence merges them, so that they are counted there, once.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import asyncpg

from headrace.messages.errors import BadMessage, FatalError
from headrace.persistence.tables import RUNS
from headrace.postgres.errors import translated
from headrace.replay.ledger import INDEX_TABLES

Connection = asyncpg.pool.PoolConnectionProxy
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TIMEOUT_S: Final = 600.0
_WRONG: Final = """
SELECT 'the role may not make schemas in this database (GRANT CREATE ON DATABASE)'
WHERE NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT 'the role does not own ' || relname FROM pg_class
WHERE relnamespace = $1::regnamespace AND relname = ANY ($2) AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT DISTINCT
  'the view ' || seen.oid::regclass || ' reads ' || read.relname || ' and would stay with the old index: drop it first'
FROM pg_depend d JOIN pg_rewrite rule ON rule.oid = d.objid JOIN pg_class seen ON seen.oid = rule.ev_class
JOIN pg_class read ON read.oid = d.refobjid
WHERE d.classid = 'pg_rewrite'::regclass AND seen.oid <> read.oid
  AND read.relnamespace = $1::regnamespace AND read.relname = ANY ($2)
"""
_COLUMNS: Final = """
SELECT relname, array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum) AS columns
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = $1::regnamespace AND relname = ANY ($2) GROUP BY relname ORDER BY relname
"""
_CONSTRAINTS: Final = """
SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', $3::text, relname, conname, pg_get_constraintdef(con.oid))
FROM pg_constraint con JOIN pg_class ON pg_class.oid = conrelid
WHERE relnamespace = $1::regnamespace AND relname = ANY ($2) AND contype IN ('p', 'u')
"""
_INDEXES: Final = """
SELECT replace(pg_get_indexdef(indexrelid), format(' ON %I.%I ', $1::text, relname), format(' ON %I.%I ', $3::text, relname))
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = $1::text::regnamespace AND relname = ANY ($2)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
"""
_TRIGGERS: Final = """
SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = $1::regnamespace AND relname = ANY ($2) AND NOT tgisinternal ORDER BY tgname
"""
_GRANTS: Final = """
SELECT format('GRANT %s ON TABLE %I.%I TO %s', privilege_type, $1::text, relname,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM pg_class, aclexplode(relacl) WHERE relnamespace = $1::text::regnamespace AND relname = ANY ($2) AND grantee <> relowner
"""
_SCHEMAS: Final = r"SELECT nspname FROM pg_namespace WHERE nspname ~ '^headrace_(beside|before)_' ORDER BY nspname"


class NotPossible(FatalError):
    """The index can't be made beside, or can't be swapped. The text says why; nothing was changed."""


class BadName(BadMessage):
    """No name for an index."""

    cause = "index_name"


class Place(NamedTuple):
    """The schemas: ``live`` is where the index is now."""

    name: str
    live: str

    @property
    def beside(self) -> str:
        return f"headrace_beside_{self.name}"

    @property
    def before(self) -> str:
        return f"headrace_before_{self.name}"

    @property
    def path(self) -> str:
        """A search path on which the index is the one beside, and all else is live."""
        return f'"{self.beside}", "{self.live}"'


async def place_of(connection: Connection, name: str) -> Place:
    """Raises ``BadName``."""
    if not _NAME.fullmatch(name):
        raise BadName(f"{name[:40]!r} is no name for an index: small letters, digits and _, a letter first")
    with translated():
        return Place(name, await connection.fetchval("SELECT current_schema()"))


async def kept(connection: Connection) -> list[str]:
    """Names of the schemas that are there: beside the index, and before it."""
    with translated():
        return [row["nspname"] for row in await connection.fetch(_SCHEMAS)]


async def check_possible(connection: Connection, place: Place) -> None:
    """Raises ``NotPossible`` with all that is in the way."""
    with translated():
        rows = await connection.fetch(_WRONG, place.live, list(INDEX_TABLES))
    if rows:
        raise NotPossible("; ".join(row[0] for row in rows))


async def make(connection: Connection, place: Place) -> bool:
    """The tables beside; False: they are there already. Raises ``NotPossible`` if they are another release's."""
    schemas = await kept(connection)
    if place.before in schemas:
        raise NotPossible(f"{place.before} is there, from a swap: take another name, or drop it")
    if place.beside in schemas:
        await _check_alike(connection, place)
        return False
    with translated():
        async with connection.transaction():
            await connection.execute(f"CREATE SCHEMA {place.beside}")
            for table in INDEX_TABLES:
                await connection.execute(
                    f'CREATE TABLE {place.beside}.{table} (LIKE "{place.live}".{table} INCLUDING ALL EXCLUDING INDEXES)'
                )
            for query in (_CONSTRAINTS, _INDEXES):
                await _run_all(connection, await _told(connection, query, place.live, list(INDEX_TABLES), place.beside))
    return True


async def swap(connection: Connection, place: Place, still: Callable[[], Awaitable[None]]) -> None:
    """Put the index beside in the live one's place.

    ``still`` is asked with all tables locked, and raises if anything has changed.
    """
    tables = list(INDEX_TABLES)
    await _check_alike(connection, place)
    with translated():
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            both = [f'"{schema}".{table}' for schema in (place.live, place.beside) for table in tables]
            await connection.execute(f"LOCK TABLE {', '.join(both)} IN ACCESS EXCLUSIVE MODE")
            await still()
            await _merge_runs(connection, place)
            triggers = await _told(connection, _TRIGGERS, place.live, tables)
            grants = await _told(connection, _GRANTS, place.live, tables)
            await connection.execute(f"CREATE SCHEMA {place.before}")
            for table in tables:
                await connection.execute(f'ALTER TABLE "{place.live}".{table} SET SCHEMA {place.before}')
                await connection.execute(f'ALTER TABLE {place.beside}.{table} SET SCHEMA "{place.live}"')
            await _run_all(connection, [*triggers, *grants])
            await connection.execute(f"DROP SCHEMA {place.beside}")


async def drop(connection: Connection, place: Place) -> list[str]:
    """Remove what is beside and what was before; which schemas that were."""
    there = [schema for schema in (place.beside, place.before) if schema in await kept(connection)]
    with translated():
        for schema in there:
            await connection.execute(f"DROP SCHEMA {schema} CASCADE", timeout=_TIMEOUT_S)
    return there


async def _check_alike(connection: Connection, place: Place) -> None:
    with translated():
        live, beside = [
            [tuple(row) for row in await connection.fetch(_COLUMNS, schema, list(INDEX_TABLES))]
            for schema in (place.live, place.beside)
        ]
    if live != beside:
        raise NotPossible(f"the tables in {place.beside} are not like the live ones: drop it, and make it again")


async def _merge_runs(connection: Connection, place: Place) -> None:
    columns = ", ".join(f'"{name}"' for name in RUNS.columns)
    live = f'"{place.live}".runs'
    await connection.execute(
        f"INSERT INTO {live} ({columns}) SELECT {columns} FROM {place.beside}.runs EXCEPT SELECT {columns} FROM {live} "  # noqa: S608 (our own names)
        f"ON CONFLICT ({', '.join(RUNS.key)}) DO {RUNS.conflict}",
        timeout=_TIMEOUT_S,
    )


async def _told(connection: Connection, query: str, *arguments: object) -> list[str]:
    """Statements that a catalogue query writes."""
    return [row[0] for row in await connection.fetch(query, *arguments)]


async def _run_all(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        await connection.execute(statement, timeout=_TIMEOUT_S)

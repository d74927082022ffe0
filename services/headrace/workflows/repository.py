"""Workflows in Postgres: versions that never change, which of them is live, and who owns it.

A change names the version that it was made for (``base_version``); if another one is live by then it is refused, so nobody undoes
what they have not seen. Going back to an old version is a new version with the old content.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

import asyncpg

from headrace.messages.base import JsonObject, Part
from headrace.messages.errors import HeadraceError
from headrace.messages.ids import patch_id
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text
from headrace.workflows.definition import WorkflowDefinition
from headrace.workflows.schedule import schedule_of

Kind = Literal["created", "patched", "rolled_back"]
MAX_LISTED: Final = 500

_HEAD: Final = "SELECT owner, live_version FROM workflows WHERE tenant = $1 AND tag = $2 FOR UPDATE"
_ASKED: Final = "SELECT * FROM workflow_versions WHERE tenant = $1 AND tag = $2 AND request_key = $3"
_CREATE: Final = """
INSERT INTO workflows (tenant, tag, owner, live_version, listens, every_s, calendars, next_at)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING true
"""
_MOVE: Final = """
UPDATE workflows SET live_version = $3, listens = $4, every_s = $5, calendars = $6, changed_at = now(),
    next_at = CASE WHEN every_s IS NOT DISTINCT FROM $5 AND calendars = $6 THEN next_at ELSE $7::timestamptz END
WHERE tenant = $1 AND tag = $2
"""
_VERSION: Final = """
INSERT INTO workflow_versions
    (tenant, tag, version, kind, base_version, patch_id, request_key, operations, description, author, definition, definition_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING *
"""
_GET: Final = """
SELECT v.* FROM workflow_versions v JOIN workflows w USING (tenant, tag)
WHERE tenant = $1 AND tag = $2 AND v.version = coalesce($3::int, w.live_version)
"""
_LIST: Final = """
SELECT v.*, w.live_version FROM workflow_versions v JOIN workflows w USING (tenant, tag)
WHERE tenant = $1 AND v.version = w.live_version ORDER BY tag LIMIT $2
"""
_HISTORY: Final = "SELECT * FROM workflow_versions WHERE tenant = $1 AND tag = $2 ORDER BY version DESC LIMIT $3"
_DUE: Final = "SELECT next_at FROM workflows WHERE tenant = $1 AND tag = $2 AND live_version = $3"
_TAGS: Final = "SELECT tag FROM workflows WHERE tenant = $1"


class WorkflowError(HeadraceError):
    """A change that is refused. ``cause``: ``unknown_workflow``, ``workflow_exists``, ``not_the_owner``, ``version_conflict``."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Stored(Part, frozen=True, kw_only=True):
    """A version, with how it came to be."""

    tag: str
    version: int
    kind: Kind
    base_version: int | None
    patch_id: str
    operations: list[Any] | None
    description: str
    author: str
    definition: WorkflowDefinition
    definition_hash: str
    created_at: datetime

    def view(self, *, definition: bool = True) -> JsonObject:
        """As JSON, for the API; without the definition for lists."""
        shown: JsonObject = {
            "tag": self.tag,
            "version": self.version,
            "owner": self.definition.owner,
            "kind": self.kind,
            "base_version": self.base_version,
            "patch_id": self.patch_id,
            "description": self.description,
            "author": self.author,
            "definition_hash": self.definition_hash,
            "created_at": self.created_at.isoformat(),
        }
        return (
            shown | {"operations": self.operations, "definition": self.definition.document()} if definition else shown
        )


class Change(Part, frozen=True, kw_only=True):
    """Who changes what, seen from which version. ``request_key``: asked again with it, it is the same change."""

    author: str
    base_version: int | None
    description: str = ""
    operations: list[Any] | None = None
    request_key: str | None = None


class WorkflowRepository:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(self, tenant: str, definition: WorkflowDefinition, author: str) -> Stored:
        """Version 1. Raises ``WorkflowError`` (``workflow_exists``)."""
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                starts = tenant, definition.tag, definition.owner, *_starts(definition)
                if not await connection.fetchval(_CREATE, *starts):
                    raise WorkflowError("workflow_exists", f"there is a workflow {definition.tag} already: patch it")
                change = Change(author=author, base_version=None, description=definition.description)
                return await _store(connection, tenant, definition, 1, "created", change)

    async def change(
        self,
        tenant: str,
        tag: str,
        kind: Kind,
        change: Change,
        make: Callable[[WorkflowDefinition], WorkflowDefinition],
        *,
        from_version: int | None = None,
    ) -> Stored:
        """A new live version: what ``make`` gives for the live one (or for ``from_version``).

        Raises:
            WorkflowError: there is none, ``author`` does not own it, or another version than ``base_version`` is live.
            Whatever ``make`` raises; then nothing is stored.
        """
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                live = await self._owned(connection, tenant, tag, change)
                if change.request_key and (row := await connection.fetchrow(_ASKED, tenant, tag, change.request_key)):
                    return _stored(row)
                if change.base_version != live:
                    seen = "no base_version is given" if change.base_version is None else f"not {change.base_version}"
                    raise WorkflowError("version_conflict", f"the live version of {tag} is {live}, {seen}")
                row = await connection.fetchrow(_GET, tenant, tag, from_version)
                if row is None:
                    raise WorkflowError("unknown_workflow", f"workflow {tag} has no version {from_version}")
                made = make(_stored(row).definition)
                await connection.execute(_MOVE, tenant, tag, live + 1, *_starts(made))
                return await _store(connection, tenant, made, live + 1, kind, change)

    async def _owned(self, connection: Any, tenant: str, tag: str, change: Change) -> int:
        """The live version of a workflow that the author may change; nobody else changes it until this is over."""
        head = await connection.fetchrow(_HEAD, tenant, tag)
        if head is None:
            raise WorkflowError("unknown_workflow", f"there is no workflow {tag}")
        if head["owner"] != change.author:
            raise WorkflowError("not_the_owner", f"workflow {tag} is another owner's")
        live: int = head["live_version"]
        return live

    async def get(self, tenant: str, tag: str, version: int | None = None) -> Stored | None:
        """A version (default: the live one)."""
        with translated(), encoding():
            row = await self._pool.fetchrow(_GET, tenant, storable_text(tag), version)
        return _stored(row) if row else None

    async def all_live(self, tenant: str) -> list[Stored]:
        """The live version of each, by tag."""
        with translated():
            return [_stored(row) for row in await self._pool.fetch(_LIST, tenant, MAX_LISTED)]

    async def history(self, tenant: str, tag: str) -> list[Stored]:
        """The versions of one, the newest first."""
        with translated():
            return [_stored(row) for row in await self._pool.fetch(_HISTORY, tenant, storable_text(tag), MAX_LISTED)]

    async def due(self, stored: Stored, tenant: str) -> datetime | None:
        """When the schedule of this version starts a run next; None if it is not live, or has none."""
        with translated():
            found: datetime | None = await self._pool.fetchval(_DUE, tenant, stored.tag, stored.version)
        return found

    async def tags(self, tenant: str) -> frozenset[str]:
        with translated():
            return frozenset(row["tag"] for row in await self._pool.fetch(_TAGS, tenant))


def _starts(definition: WorkflowDefinition) -> tuple[bool, int | None, list[Any], datetime | None]:
    """Whether events may start it, its schedule, and when that is due first if it begins now."""
    listens = any(trigger.type == "whenever" for trigger in definition.triggers)
    schedule = schedule_of(definition)
    calendars = [calendar.plain() for calendar in schedule.calendars]
    return listens, schedule.every_s, calendars, schedule.first(datetime.now(UTC))


async def _store(
    connection: Any, tenant: str, definition: WorkflowDefinition, version: int, kind: Kind, change: Change
) -> Stored:
    row = await connection.fetchrow(
        _VERSION,
        tenant,
        definition.tag,
        version,
        kind,
        change.base_version,
        patch_id(tenant, definition.tag, version),
        change.request_key,
        change.operations,
        storable_text(change.description),
        change.author,
        definition.document(),
        definition.definition_hash,
    )
    return _stored(row)


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        **{name: row[name] for name in Stored.__struct_fields__ if name != "definition"},
        definition=WorkflowDefinition.checked(row["definition"]),
    )

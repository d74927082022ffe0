"""Composite tools: pipelines that are known by a name. What is offered, what an operator decides, and where each one comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg
import orjson

from headrace.messages.base import JsonObject, Part
from headrace.messages.errors import BadMessage
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text
from headrace.toolbox.canonical import takes_input
from headrace.toolbox.naming import PREFIX
from headrace.toolspecs import Spec

VERSION: Final = "1.0.0"  # of every composite tool: other steps are another tool
NAME: Final = re.compile(PREFIX + r"[a-z0-9_]{1,54}")
MAX_DESCRIPTION: Final = 500  # characters
_COLUMNS: Final = (
    "tenant, encode(digest, 'hex') AS digest, name, description, steps, state, decided_by, uses, first_used_at, last_used_at, "
    "decided_at"
)
_OFF: Final = "SELECT true FROM promotion_off WHERE tenant = $1"
_LIST: Final = f"""
SELECT {_COLUMNS} FROM pipelines WHERE tenant = $1 AND ($2 OR state = 'promoted')
ORDER BY decided_at, last_used_at, name LIMIT 1000
"""  # noqa: S608 (constants)
_FIND: Final = f"SELECT {_COLUMNS} FROM pipelines WHERE tenant = $1 AND (name = $2 OR encode(digest, 'hex') = $2)"  # noqa: S608
# What changes whenever the offer does: a decision moves the newest time or the number of promoted ones.
_STAMP: Final = """
SELECT (SELECT max(decided_at) FROM pipelines)::text || ' ' || (SELECT count(*) FROM pipelines WHERE state = 'promoted')
    || ' ' || (SELECT coalesce(string_agg(tenant, ' ' ORDER BY tenant), '') FROM promotion_off)
"""
_OFFERED: Final = f"""
SELECT {_COLUMNS} FROM pipelines
WHERE state = 'promoted' AND NOT EXISTS (SELECT FROM promotion_off WHERE promotion_off.tenant = pipelines.tenant)
ORDER BY decided_at, name LIMIT 10000
"""  # noqa: S608
_DECIDE: Final = f"""
UPDATE pipelines SET state = $3, decided_by = 'operator', decided_at = now(),
    name = coalesce($4, name), description = coalesce($5, description)
WHERE tenant = $1 AND (name = $2 OR encode(digest, 'hex') = $2)
RETURNING {_COLUMNS}
"""  # noqa: S608
_USES: Final = """
SELECT run_id, agent, used_at FROM pipeline_uses WHERE tenant = $1 AND digest = decode($2, 'hex') ORDER BY used_at DESC LIMIT $3
"""
_SWITCH_OFF: Final = "INSERT INTO promotion_off (tenant) VALUES ($1) ON CONFLICT DO NOTHING"
_SWITCH_ON: Final = "DELETE FROM promotion_off WHERE tenant = $1"

State = Literal["used", "promoted", "demoted"]


class Composite(Part, frozen=True, kw_only=True):
    """A pipeline that was used, and what became of it. ``digest`` is hex."""

    tenant: str
    digest: str
    name: str
    description: str
    steps: list[JsonObject]
    state: State
    decided_by: str | None
    uses: int
    first_used_at: datetime
    last_used_at: datetime
    decided_at: datetime | None


class UseOf(Part, frozen=True, kw_only=True):
    """A run that used a pipeline."""

    run_id: str
    agent: str
    used_at: datetime


class Composites:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, tenant: str, *, used: bool = False) -> list[Composite]:
        """The composite tools of a tenant, the oldest first; with ``used`` also what is not, or no longer, promoted."""
        with translated():
            return [_composite(row) for row in await self._pool.fetch(_LIST, storable_text(tenant), used)]

    async def find(self, tenant: str, name: str) -> Composite | None:
        """By name or digest, whatever its state."""
        with translated(), encoding():
            row = await self._pool.fetchrow(_FIND, storable_text(tenant), storable_text(name))
        return _composite(row) if row else None

    async def stamp(self) -> str | None:
        """Another text whenever ``offered`` gives something else; None while nothing was ever decided."""
        with translated():
            stamp: str | None = await self._pool.fetchval(_STAMP)
        return stamp

    async def offered(self) -> list[Composite]:
        """What every tenant's agents may be offered, the oldest first."""
        with translated():
            return [_composite(row) for row in await self._pool.fetch(_OFFERED)]

    async def uses(self, composite: Composite, limit: int = 20) -> list[UseOf]:
        """The latest runs that used it."""
        with translated():
            rows = await self._pool.fetch(_USES, composite.tenant, composite.digest, limit)
        return [UseOf(**dict(row)) for row in rows]

    async def promote(
        self, tenant: str, name: str, *, new_name: str | None = None, description: str | None = None
    ) -> Composite | None:
        """Make it a composite tool, by hand; None if there is no such pipeline. Raises ``BadMessage`` for a name that can't be."""
        if new_name is not None and not NAME.fullmatch(new_name):
            raise BadMessage(f"the name of a composite tool is {PREFIX} and up to 54 of a-z, 0-9 and _")
        return await self._decide(tenant, name, "promoted", new_name, description)

    async def demote(self, tenant: str, name: str) -> Composite | None:
        """Take it back: it is offered no more, refused if called, and not promoted by use again."""
        return await self._decide(tenant, name, "demoted")

    async def promotion(self, tenant: str) -> bool:
        """Whether pipelines of this tenant are promoted by use, and composite tools offered."""
        with translated():
            return await self._pool.fetchval(_OFF, storable_text(tenant)) is None

    async def switch(self, tenant: str, *, on: bool) -> None:
        with translated():
            await self._pool.execute(_SWITCH_ON if on else _SWITCH_OFF, storable_text(tenant))

    async def _decide(
        self, tenant: str, name: str, state: State, new_name: str | None = None, description: str | None = None
    ) -> Composite | None:
        told = description[:MAX_DESCRIPTION] if description else None
        with translated(), encoding():
            row = await self._pool.fetchrow(_DECIDE, storable_text(tenant), storable_text(name), state, new_name, told)
        return _composite(row) if row else None


def spec_of(composite: Composite) -> Spec:
    """A composite tool as models see it: the pipeline is fixed, only its input is the caller's."""
    needed = takes_input(composite.steps)
    properties: dict[str, Any] = {"session_id": {"type": "string", "description": "Session ID for context tracking"}}
    if needed:
        properties["input_ref"] = {"type": "string", "description": "CAS reference to input data"}
    return Spec(
        name=composite.name,
        version=VERSION,
        description=f"A pipeline that has proved useful here. {composite.description}",
        parameters={
            "type": "object",
            "required": ["input_ref"] if needed else [],
            "additionalProperties": False,
            "properties": properties,
        },
        effect="none",
    )


def arguments_of(composite: Composite, arguments: JsonObject) -> JsonObject:
    """What ``execute_pipeline`` is called with for a call of ``composite``."""
    given: Sequence[str] = ("input_ref",) if "input_ref" in arguments else ()
    return {
        "session_id": arguments.get("session_id", ""),
        "pipeline": composite.steps,
        **{name: arguments[name] for name in given},
    }


def _composite(row: asyncpg.Record) -> Composite:
    fields = dict(row)
    return Composite(**fields | {"steps": orjson.loads(fields["steps"])})

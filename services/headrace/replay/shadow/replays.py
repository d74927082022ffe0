"""The table of replays: what each one is, and its report once it is done."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from headrace.messages.errors import BadMessage
from headrace.postgres.errors import translated
from headrace.replay.shadow.plan import ShadowPlan

_INSERT: Final = """
INSERT INTO replays (tenant, replay_id, state, agent_name, plan) VALUES ($1, $2, 'running', $3, $4) ON CONFLICT DO NOTHING
RETURNING replay_id
"""
_FINISH: Final = """
UPDATE replays SET state = 'completed', report = $3, updated_at = now() WHERE tenant = $1 AND replay_id = $2
"""
_PLAN: Final = "SELECT plan FROM replays WHERE tenant = $1 AND replay_id = $2"
_LIST: Final = """
SELECT replay_id, state, agent_name, created_at, report FROM replays WHERE tenant = $1 ORDER BY created_at DESC LIMIT $2
"""


class NameTaken(BadMessage):
    """Another replay has that id."""

    cause = "replay_id"


class Listed(NamedTuple):
    """A replay as a list shows it; ``report`` is None until it is done."""

    replay_id: str
    state: str
    agent: str
    created_at: datetime
    report: dict[str, Any] | None


class Replays:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, plan: ShadowPlan) -> None:
        """Keep the plan. Raises ``NameTaken``."""
        text = msgspec.json.encode(plan).decode()
        with translated():
            if await self._pool.fetchval(_INSERT, plan.tenant, plan.replay_id, plan.agent, text) is None:
                raise NameTaken(f"there is a replay {plan.replay_id} already: --resume takes it up")

    async def plan(self, tenant: str, replay_id: str) -> ShadowPlan | None:
        with translated():
            text = await self._pool.fetchval(_PLAN, tenant, replay_id)
        return None if text is None else msgspec.json.decode(text, type=ShadowPlan)

    async def finish(self, plan: ShadowPlan, report: dict[str, Any]) -> None:
        """Keep its report; the last one stays."""
        with translated():
            await self._pool.execute(_FINISH, plan.tenant, plan.replay_id, report)

    async def latest(self, tenant: str, limit: int = 50) -> list[Listed]:
        """Newest first."""
        with translated():
            rows = await self._pool.fetch(_LIST, tenant, limit)
        return [Listed(*row.values()) for row in rows]

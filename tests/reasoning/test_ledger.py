"""The index of runs, asked on a real Postgres, whether a run has ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.reasoning.ledger import Asked, PostgresEnded
from headrace.settings import MeshSettings


@pytest.mark.parametrize(
    ("state", "ended"), [("running", False), ("pending", False), ("completed", True), ("failed", True)]
)
async def test_only_an_ended_run_of_that_tenant_is_finished(database_url: str, state: str, ended: bool) -> None:
    async with open_pool(MeshSettings(_env_file=None, database_url=SecretStr(database_url))) as pool:
        await migrate(pool)
        await pool.execute(
            "insert into runs (tenant, run_id, precedence, state, created_at) values ('t', 'r', 1, $1, $2)",
            state,
            datetime.now(UTC),
        )
        asked = [Asked(*name, "agent.jobs/0/1") for name in (("other", "r"), ("t", "r"), ("t", "none"), ("t", "\x00"))]
        assert await PostgresEnded(pool).ended_all(asked) == [False, ended, False, False]

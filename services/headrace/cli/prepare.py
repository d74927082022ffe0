"""``headrace prepare``"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from headrace.cli.output import print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async, settings_for
from headrace.local.endpoints import Endpoints
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.registry.builtin import builtin_definitions
from headrace.registry.publish import Published, connecting, publish
from headrace.runtime.admin import Admin
from headrace.runtime.schemas import Schemas
from headrace.settings import MeshSettings
from headrace.topology.plan import Change
from headrace.topology.spec import load_all

_NOWHERE = Target()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done: changes of topics (some may be refused), migrations by name, agents."""

    topics: Sequence[Change]
    migrations: Sequence[str]
    agents: Sequence[Published]


def prepare(
    *,
    target: Target = _NOWHERE,
    agents: Annotated[bool, Parameter(negative="--no-agents")] = True,
    json: JsonFlag = False,
) -> None:
    """Make everything that services need before they start: topics, schemas, tables, and the built-in agents.

    For a mesh on your own Kafka or Redpanda, once per release (`headrace up` does it by itself). Safe to repeat, and while
    services run. Exits with 1 if a change of a topic was refused.

    Example: `KAFKA_BOOTSTRAP_SERVERS=… SCHEMA_REGISTRY_URL=… DATABASE_URL=… headrace prepare`

    Parameters
    ----------
    agents
        Publish built-in agents that no version is live of.
    json
        Print JSON.
    """
    done = run_async(prepare_mesh(target.settings(), agents=agents))
    if json:
        print_json(done)
    else:
        _show(done)
    if refused := [str(change) for change in done.topics if change.refused]:
        raise stop("refused: " + "; ".join(refused), 1)


def prepare_endpoints(endpoints: Endpoints) -> None:
    """The same for `headrace up`, before its services start."""
    run_async(prepare_mesh(settings_for(endpoints)))


async def prepare_mesh(settings: MeshSettings, *, agents: bool = True) -> Prepared:
    async with connecting(settings) if agents else nullcontext() as publisher:
        topics, migrations, _ = await asyncio.gather(_topics(settings), _migrations(settings), _schemas(settings))
        if publisher is None:
            return Prepared(topics, migrations, [])
        published = await publish(settings, builtin_definitions(), only_new=True, who="prepare", publisher=publisher)
        return Prepared(topics, migrations, published)


async def _topics(settings: MeshSettings) -> list[Change]:
    return await asyncio.to_thread(lambda: Admin(settings).apply(load_all().values()))


async def _migrations(settings: MeshSettings) -> list[str]:
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        return await migrate(pool)


async def _schemas(settings: MeshSettings) -> None:
    schemas = Schemas(settings)
    try:
        await schemas.load()
    finally:
        await schemas.close()


def _show(done: Prepared) -> None:
    rows = [("topic", change.topic, str(change)) for change in done.topics]
    rows += [("migration", name, "applied") for name in done.migrations]
    rows += [
        ("agent", f"{entry.name} {entry.version}", entry.outcome)
        for entry in done.agents
        if entry.outcome == "published"
    ]
    print_table(["what", "name", "change"], rows, empty="everything is as it should be")

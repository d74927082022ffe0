"""A mesh with a history to replay: events, live runs of some of them, and an agent whose answers a simulator gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from headrace.blobs.settings import open_blobs
from headrace.messages.agent import AgentDefinition, Trigger
from headrace.messages.event import Event, Origin
from headrace.messages.ids import event_uid, triggered_job_id
from headrace.messages.job import Job
from headrace.messages.run import CallRequest
from headrace.reasoning.toolsets import Toolsets
from headrace.settings import MeshSettings
from headrace.toolbox.composites import Composites
from headrace.toolbox.follow import Offers
from headrace.toolbox.usage import PipelineUsage
from tests.reasoning.bench import Bench, ScriptedModel, definition, text_reply
from tests.replay.lives import Life, live
from tests.replay.stored import an_hour_ago, produce, publish, store
from tests.support.simulator import script
from tests.toolbox.test_toolbox import use

SOURCE = "shop"
TICKETS = definition(
    name="triager",
    model="openai:sim",
    triggers=(Trigger(type="ticket.*", filter="data.number < `1000`"),),
    output_schema={
        "type": "object",
        "required": ["risk", "why"],
        "properties": {"risk": {"enum": ["low", "high"]}, "why": {"type": "string"}},
    },
)
QUERY = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 3}]}
CALL = {"name": "execute_pipeline", "arguments": QUERY}


def event(number: int, **changes: Any) -> Event:
    values: dict[str, Any] = {
        "uid": event_uid("default", SOURCE, f"t-{number}"),
        "id": f"t-{number}",
        "source": SOURCE,
        "type": "ticket.created",
        "time": "2026-11-01T08:00:00Z",
        "tenant": "default",
        "partition_key": f"customer-{number % 7}",
        "data": {"number": number, "title": f"ticket number {number}."},
        "origin": Origin(kind="envelope", topic="ingest.raw", partition=0, offset=number),
    }
    return Event(**{**values, **changes})


def live_id(one: Event) -> str:
    return triggered_job_id(one.uid, TICKETS.name, TICKETS.version)


async def promoted(pool: asyncpg.Pool, step: dict[str, Any], *, hours_ago: int) -> str:
    """A pipeline of one step that is a composite tool since then; its name."""
    made = use([step], str(step), tenant="default")
    await PipelineUsage(pool).count(made, 1)
    then = "UPDATE pipelines SET decided_at = now() - make_interval(hours => $1) WHERE name = $2"
    await pool.execute(then, hours_ago, made.name)
    return made.name


async def lived(
    settings: MeshSettings, pool: asyncpg.Pool, one: Event, risk: str, *, tool: bool = False, call: Any = None
) -> Life:
    """The live run of an event, as ingest and reasoning make it. ``tool``: it makes a ``call``, of ``CALL`` if none is named."""
    asks = CallRequest(id="", **(call or CALL))
    turns = [text_reply(None, tool_calls=(asks,))] if tool or call else []
    answer = text_reply(f'{{"risk": "{risk}", "why": "as it was"}}')
    offers = Offers()
    offers.replace(await Composites(pool).offered())
    bench = Bench(
        *(ScriptedModel(*turns, answer), TICKETS),
        blobs=open_blobs(settings, pool),
        toolsets=lambda blobs: Toolsets(offers, blobs, 8),
    )
    job = Job(
        job_id=live_id(one),
        agent=TICKETS.name,
        agent_version=TICKETS.version,
        event=one,
        partition_key=one.partition_key,
        created_at=one.time,
    )
    return await live(bench, job, [["a", "b"]], at_ms=an_hour_ago())


async def history(
    settings: MeshSettings,
    pool: asyncpg.Pool,
    events: Sequence[Event],
    lives: Sequence[Life],
    agent: AgentDefinition = TICKETS,
) -> None:
    await publish(settings, agent)
    await produce(settings, [(one, an_hour_ago()) for one in events])
    await store(settings, lives)


def answer(risk: str, why: str = "as it was") -> dict[str, Any]:
    return {"json": {"risk": risk, "why": why}}


def says(*rules: dict[str, Any], latency_ms: float = 0) -> Any:
    """Rules, and ``low`` for whatever none of them matches."""
    return script(*rules, {"reply": answer("low")}, latency_ms=latency_ms)


def about(number: int) -> str:
    """What only the prompt of this event holds."""
    return f"ticket number {number}."

"""Runs that were really reasoned: by the real processor over a scripted model, each record encoded as it would be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.history.chain import Chain, Filed, chain_of
from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.base import Message
from headrace.messages.codec import AVRO_FORMS, Codec, subject
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import CallRequest, ToolCalls
from headrace.models import ModelReply
from headrace.reasoning.settings import ReasoningSettings
from headrace.registry.catalog import catalog_of
from headrace.replay.recorded import KnownTools
from headrace.replay.rerun import Blobs, Reasoner, Rerun
from headrace.replay.sealed import run_sealed
from headrace.runtime.api import Context, Source
from headrace.toolspecs import SPECS, Spec
from tests.reasoning.bench import T0, VERDICT_SCHEMA, Bench, ScriptedModel, answered, definition, job, text_reply

AGENT = definition(output_schema=VERDICT_SCHEMA, limits=Limits(max_steps=4, max_tokens=900, timeout_s=60.0))
LOW = text_reply('{"risk": "low"}', latency_ms=20)


class OneSchema:
    """``SchemaIds`` without a registry: the schema of results is number 1, unless another one is given for that number."""

    def __init__(self, first: Mapping[str, Any] | None = None) -> None:
        ours = AVRO_FORMS[AgentResult].schema
        self._schemas = {1: dict(first or ours)}
        self._ours = 1 if first is None or dict(first) == ours else 2
        self._schemas[self._ours] = ours

    def id_for(self, name: str) -> int:
        assert name == subject(AgentResult)
        return self._ours

    def schema(self, schema_id: int) -> dict[str, Any]:
        return self._schemas[schema_id]


CODEC = Codec(OneSchema())


@dataclass
class Life:
    """The messages of one run with the times of their records, in the order of the flow."""

    run_id: str
    records: list[tuple[Message, int]] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        return chain_of(self.run_id, [filed(message, at, number) for number, (message, at) in enumerate(self.records)])


def filed(message: Message, at_ms: int, number: int) -> Filed:
    record = CODEC.encode(message, service="test", cause_headers={})
    source = Source(record.topic, 0, number)
    headers = {name: value.decode() for name, value in record.headers}
    again = CODEC.decode(record.topic, record.key, record.value, headers)
    return Filed(source, record.key, record.value, at_ms, again, headers)


async def live(
    bench: Bench, a_job: Job, contents: Sequence[Any] = ("fine",), *, at_ms: int = T0, wait_ms: int = 5
) -> Life:
    """Run it to its end; each record is ``wait_ms`` after the one before."""
    life = Life(a_job.job_id, [(a_job, at_ms)])
    while True:
        message, came_ms = life.records[-1]
        if isinstance(message, ToolCalls):
            life.records.append((answered(message, *contents), came_ms + 1))
            continue
        bench.clock_ms = came_ms + wait_ms
        sends = await bench.handle(message, Context(Source("in", 0, len(life.records)), {}, came_ms))
        life.records.append((sends[0].message, bench.clock_ms))
        if isinstance(sends[0].message, AgentResult):
            return life


def rerun(
    chain: Chain, blobs: Any, *definitions: AgentDefinition, codec: Codec = CODEC, specs: Mapping[str, Spec] = SPECS
) -> Rerun:
    """As the command does it: sealed, with blobs fetched when they are asked for. ``blobs`` is a ``MemoryBlobs``."""
    catalog = catalog_of(list(definitions) or [AGENT])
    reasoner = Reasoner(catalog, KnownTools(specs), codec, ReasoningSettings(_env_file=None))
    known: Blobs = {}
    while True:
        done, waiting = run_sealed(reasoner.rerun_all([chain], known))
        if done:
            return done[0]
        asked = set().union(*waiting.values())
        assert asked
        assert not asked & known.keys(), "what was fetched is asked for again"
        for ref in asked:
            coroutine = blobs.get(ref)  # memory: it never waits
            try:
                coroutine.send(None)
            except StopIteration as got:
                known[ref] = got.value


def with_tools(*turns: Mapping[str, Any], last: ModelReply | Exception = LOW) -> ScriptedModel:
    """A model that asks for one call a turn, with these arguments, and then answers."""
    calls = [
        text_reply(None, tool_calls=(CallRequest(id="", name="execute_pipeline", arguments=dict(given)),))
        for given in turns
    ]
    return ScriptedModel(*calls, last)


__all__ = ["AGENT", "CODEC", "LOW", "Bench", "Life", "OneSchema", "filed", "job", "live", "rerun", "with_tools"]

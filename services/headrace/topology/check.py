"""Do topics, pipeline and contracts tell the same story? Each rule is one small function in the table at the foot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from headrace.contracts.problem import Problem
from headrace.messages.catalog import message_on
from headrace.pipeline import Stage
from headrace.topology.spec import TopicSpec

Specs = Mapping[str, TopicSpec]
Rule = Callable[[Specs, Collection[Stage]], Iterator[Problem]]


def check(specs: Specs, stages: Collection[Stage]) -> list[Problem]:
    """Everything in which ``specs`` (topics by name) and ``stages`` disagree with each other or with the catalog of messages."""
    return [problem for rule in _RULES for problem in rule(specs, stages)]


def _producers(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    writes = {(topic, stage.service) for stage in stages for topic in (*stage.produces, *_dead_letters(stage))}
    declared = {(name, service) for name, spec in specs.items() for service in spec.services_in}
    yield from _differences("producers", writes, declared)


def _consumers(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    reads = {(topic, stage.service) for stage in stages for topic in (*stage.consumes, *stage.reads)}
    declared = {(name, service) for name, spec in specs.items() for service in spec.services_out}
    yield from _differences("consumers", reads, declared)


def _dead_letter_topics(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    needed = {(topic, stage.dead_letters) for stage in stages for topic in stage.consumes}
    declared = {(name, dead_letters) for name, spec in specs.items() for dead_letters in spec.dead_letters}
    yield from _differences("dead_letters", needed, declared)


def _known_topics(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    topics = {
        topic for stage in stages for topic in (*stage.consumes, *stage.produces, *stage.reads, *_dead_letters(stage))
    }
    for topic in sorted(topics - specs.keys()):
        yield Problem(f"topics/{topic}.yaml", "is missing, though pipeline.py names the topic")
    of_services = {name for name, spec in specs.items() if spec.services_in or spec.services_out}
    for topic in sorted(of_services - topics):
        yield Problem(f"topics/{topic}.yaml", "declares a topic that pipeline.py does not know")


def _contracts(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    for name, spec in specs.items():
        message = message_on(name)
        if spec.schema_name != (schema := message.TOPIC if message else None):
            yield Problem(f"topics/{name}.yaml", f"schema should be {schema or 'left out'}")
        if message and spec.format != message.FORMAT:
            yield Problem(
                f"topics/{name}.yaml", f"format is {spec.format}, but the message travels as {message.FORMAT}"
            )


def _compacted_tables(specs: Specs, stages: Collection[Stage]) -> Iterator[Problem]:
    tables = {topic for stage in stages for topic in stage.reads}
    for name, spec in specs.items():
        if (name in tables) != (spec.cleanup == "compact"):
            yield Problem(f"topics/{name}.yaml", "cleanup is compact exactly where services read a topic as a table")
        if spec.cleanup == "compact" and spec.retention != "forever":
            yield Problem(f"topics/{name}.yaml", "a compacted topic keeps its keys forever")


def _dead_letters(stage: Stage) -> tuple[str, ...]:
    return (stage.dead_letters,) if stage.consumes else ()


def _differences(field: str, real: set[tuple[str, str]], declared: set[tuple[str, str]]) -> Iterator[Problem]:
    for topic, name in sorted(real - declared):
        yield Problem(f"topics/{topic}.yaml", f"{field} lacks {name}, which pipeline.py has")
    for topic, name in sorted(declared - real):
        yield Problem(f"topics/{topic}.yaml", f"{field} has {name}, which pipeline.py lacks")


_RULES: Final[tuple[Rule, ...]] = (
    _known_topics,
    _producers,
    _consumers,
    _dead_letter_topics,
    _contracts,
    _compacted_tables,
)

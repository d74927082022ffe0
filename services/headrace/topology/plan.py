"""What has to change so that a cluster's topic becomes what its file declares. Pure: a state in, changes out.

A change that would lose records or break readers is *refused*: it is in the plan, with the way to do it by hand, and nobody
applies it. The table at the foot has one rule per property; a new topic is made whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from headrace.topology.spec import FOREVER, TopicSpec

RETENTION: Final = "retention.ms"
CLEANUP: Final = "cleanup.policy"
MAX_BYTES: Final = "max.message.bytes"
MIN_ISR: Final = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it. ``records`` counts offsets from the first to the end, so it may be too high, never too low."""

    partitions: int
    records: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``topic`` is the logical name; ``refused`` says why it will not be applied, and what to do instead."""

    topic: str
    kind: Literal["create", "partitions", "config"]
    name: str
    old: str | None
    new: str
    warning: str | None = None
    refused: str | None = None

    def __str__(self) -> str:
        step = f"{self.old} -> {self.new}" if self.old is not None else self.new
        note = self.refused or self.warning
        return f"{self.topic}: {self.name} {step}" + (f" ({note})" if note else "")


def topic_config(spec: TopicSpec, replication: int) -> dict[str, str]:
    """Settings of a new topic. With three replicas a write needs two, so that losing one broker loses nothing and stops nothing."""
    config = {RETENTION: str(spec.retention_ms), CLEANUP: spec.cleanup, MAX_BYTES: str(spec.max_message_bytes)}
    return config | ({MIN_ISR: "2"} if replication >= 3 else {})


def plan(spec: TopicSpec, state: TopicState | None, replication: int) -> list[Change]:
    """Changes from ``state`` (None: no such topic) to ``spec``."""
    if state is None:
        shape = f"{spec.partitions} partitions, {replication} replicas, {spec.cleanup}, keeps {spec.retention}"
        return [Change(spec.name, "create", "create", None, shape)]
    return [change for rule in _RULES for change in rule(spec, state)]


def _partitions(spec: TopicSpec, state: TopicState) -> Iterator[Change]:
    if spec.partitions == state.partitions:
        return
    warning = refused = None
    if spec.partitions > state.partitions:
        warning = "keys move to other partitions: their order across the change is not kept"
    else:
        refused = f"Kafka can't take partitions away: declare partitions: {state.partitions}, or move to a new topic"
    yield Change(spec.name, "partitions", "partitions", str(state.partitions), str(spec.partitions), warning, refused)


def _retention(spec: TopicSpec, state: TopicState) -> Iterator[Change]:
    old, new = int(state.config[RETENTION]), spec.retention_ms
    if old == new:
        return
    shorter = new != FOREVER and (old == FOREVER or new < old)
    refused = None
    if shorter and state.records:
        refused = (
            "a shorter retention deletes records: set retention.ms by hand if that is meant, or declare the longer one"
        )
    yield Change(spec.name, "config", RETENTION, str(old), str(new), None, refused)


def _cleanup(spec: TopicSpec, state: TopicState) -> Iterator[Change]:
    old = state.config[CLEANUP]
    if old == spec.cleanup:
        return
    refused = None
    if state.records and not (spec.cleanup == "delete" and spec.retention_ms == FOREVER):
        refused = "another clean-up policy deletes records: set cleanup.policy by hand if that is meant"
    yield Change(spec.name, "config", CLEANUP, old, spec.cleanup, None, refused)


def _max_bytes(spec: TopicSpec, state: TopicState) -> Iterator[Change]:
    old, new = int(state.config[MAX_BYTES]), spec.max_message_bytes
    if old == new:
        return
    refused = "a lower bound refuses records that producers may send now: set it by hand" if new < old else None
    yield Change(spec.name, "config", MAX_BYTES, str(old), str(new), None, refused)


_RULES: Final[tuple[Callable[[TopicSpec, TopicState], Iterator[Change]], ...]] = (
    _partitions,
    _retention,
    _cleanup,
    _max_bytes,
)

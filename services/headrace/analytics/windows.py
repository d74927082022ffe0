"""Tumbling windows over finished runs, in event time. Pure: no Faust, no Kafka, no clock.

The audit log is counted in *parts*: a part is what one partition of ``audit.events`` holds of one source partition. Its entries
come in order of the audit offset, which is what makes counting exact although records may be read again:

- a window's ``State`` keeps the audit offset up to which it is counted: what is at or before it is in already;
- a part's ``Mark`` keeps the same for the whole part, and its *watermark*: the latest completion seen in it;
- a window is *closed* for a part when the watermark is past its end by the grace. Closed states may be forgotten; an entry for a
  closed and forgotten window is *late*, and is not counted.

Lateness is judged by the part's own stream, never by a wall clock: after an outage, or when everything is read again from the
beginning, old entries are as good as new ones. A timestamp from the future moves the watermark no further than ``now_ms``.

States are written before the mark that covers them. So if a crash keeps the later of these writes from the changelog, the entries
between are counted again exactly where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, Self

from headrace.messages.totals import Run, Totals


class WindowKey(NamedTuple):
    """Whose window it is, and when."""

    tenant: str
    agent: str
    start_ms: int
    seconds: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.seconds * 1000


class Verdict(Enum):
    """What became of an entry."""

    COUNTED = "counted"
    REPEATED = "repeated"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished run in the audit log. ``at_ms`` is its completion, ``offset`` that of the audit entry."""

    offset: int
    tenant: str
    agent: str
    at_ms: int
    run: Run


@dataclass(frozen=True, slots=True)
class State:
    """One window of one part, counted up to the audit offset ``offset``."""

    offset: int
    totals: Totals

    def to_json(self) -> dict[str, Any]:
        return {"offset": self.offset, "totals": self.totals.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(value["offset"], Totals.from_json(value["totals"]))


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a part is counted: the last audit offset, and the latest completion (epoch milliseconds)."""

    offset: int = -1
    watermark_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"offset": self.offset, "watermark_ms": self.watermark_ms}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(value["offset"], value["watermark_ms"])


@dataclass(frozen=True, slots=True)
class Rules:
    """Size of a window, and how much longer entries for it are waited for. Both in milliseconds."""

    size_ms: int
    grace_ms: int

    def window(self, tenant: str, agent: str, at_ms: int) -> WindowKey:
        return WindowKey(tenant, agent, at_ms - at_ms % self.size_ms, self.size_ms // 1000)

    def closed_ms(self, mark: Mark) -> int:
        """Windows that end at it or before are closed for the part."""
        return mark.watermark_ms - self.grace_ms


@dataclass(slots=True)
class Change:
    """What a batch did to a part: new states, the new mark, and how its entries ended."""

    mark: Mark
    states: dict[WindowKey, State] = field(default_factory=dict)
    verdicts: dict[Verdict, int] = field(default_factory=dict)


_NONE: Final = Totals()


def count(
    entries: Iterable[Entry], mark: Mark, load: Callable[[WindowKey], State | None], rules: Rules, now_ms: int
) -> Change:
    """Count ``entries`` of one part, in order. ``load`` gives the state that is known of a window, None if there is none."""
    change = Change(mark)
    for entry in entries:
        verdict = _count(entry, change, load, rules)
        change.verdicts[verdict] = change.verdicts.get(verdict, 0) + 1
        change.mark = Mark(
            max(change.mark.offset, entry.offset), max(change.mark.watermark_ms, min(entry.at_ms, now_ms))
        )
    return change


def _count(entry: Entry, change: Change, load: Callable[[WindowKey], State | None], rules: Rules) -> Verdict:
    if entry.offset <= change.mark.offset:
        return Verdict.REPEATED
    key = rules.window(entry.tenant, entry.agent, entry.at_ms)
    state = change.states.get(key) or load(key)
    if state is None and key.end_ms <= rules.closed_ms(change.mark):
        return Verdict.LATE
    if state is not None and entry.offset <= state.offset:
        return Verdict.REPEATED
    before = _NONE if state is None else state.totals
    change.states[key] = State(entry.offset, before + Totals.of(entry.run))
    return Verdict.COUNTED

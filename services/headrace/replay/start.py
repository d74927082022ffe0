"""Where a rebuild starts: what the operator says, and the offset that it means in each partition. Pure.

Nothing is rounded to what happens to be there: an offset or a time that the topics don't reach back to (or forward to) is refused
by the name of its partition, since a rebuild that silently begins elsewhere leaves a hole that nobody looks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headrace.messages.errors import BadMessage

Partition = tuple[str, int]
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]+):([0-9]{1,9}):([0-9]{1,18})")


class OutOfRange(BadMessage):
    """A start that the topics don't hold, or that is none. The text names each partition."""

    cause = "out_of_range"


@dataclass(frozen=True, slots=True)
class Earliest:
    """The first record that is still there."""


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record that is not older than this (epoch ms)."""

    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class AtOffset:
    """This offset in every partition."""

    offset: int


@dataclass(frozen=True, slots=True)
class AtOffsets:
    """These; all other partitions go on where the group is."""

    offsets: Mapping[Partition, int]


Start = Earliest | AtTime | AtOffset | AtOffsets


@dataclass(frozen=True, slots=True)
class Held:
    """A partition as it is: offsets ``first`` to before ``end``, where the group has read to, and what a time leads to.

    ``oldest_ms`` is the timestamp of the first record, ``at_ms`` the offset of an asked time; None where there is no such record.
    """

    first: int
    end: int
    committed: int | None = None
    oldest_ms: int | None = None
    at_ms: int | None = None


def parse_time(text: str) -> AtTime:
    """An ISO 8601 time; without an offset it is UTC. Raises ``OutOfRange`` if it is not one."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise OutOfRange(f"{text[:40]!r} is not an ISO 8601 time, such as 2026-11-01T08:00:00Z") from None
    timestamp_ms = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    if timestamp_ms < 0:  # Kafka gives these a meaning of their own
        raise OutOfRange(f"{text[:40]!r} is before 1970")
    return AtTime(timestamp_ms)


def parse_offsets(texts: Sequence[str]) -> AtOffset | AtOffsets:
    """One number for all partitions, or ``TOPIC:PARTITION:OFFSET`` for each that is meant. Raises ``OutOfRange``."""
    if len(texts) == 1 and texts[0].isascii() and texts[0].isdecimal() and len(texts[0]) < 19:
        return AtOffset(int(texts[0]))
    offsets: dict[Partition, int] = {}
    for text in texts:
        match = _PLACE.fullmatch(text)
        if match is None:
            raise OutOfRange(f"{text[:80]!r} is not TOPIC:PARTITION:OFFSET, nor one offset for all")
        where = match[1], int(match[2])
        if where in offsets:
            raise OutOfRange(f"{match[1]}:{where[1]} is named twice")
        offsets[where] = int(match[3])
    return AtOffsets(offsets)


def starting_points(start: Start, held: Mapping[Partition, Held], *, now_ms: int) -> dict[Partition, int]:
    """The offset to start from in each partition.

    Raises:
        OutOfRange: naming every partition where that can't be.
    """
    match start:
        case Earliest():
            return {where: one.first for where, one in held.items()}
        case AtTime(timestamp_ms):
            return _at_time(timestamp_ms, held, now_ms)
        case AtOffset(offset):
            return _checked(dict.fromkeys(held, offset), held)
        case AtOffsets(offsets):
            return _checked(_with_the_rest(offsets, held), held)


def _at_time(timestamp_ms: int, held: Mapping[Partition, Held], now_ms: int) -> dict[Partition, int]:
    asked = datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="seconds")
    if timestamp_ms > now_ms:
        raise OutOfRange(f"{asked} is in the future")
    cut = [
        _name(where)
        for where, one in held.items()
        if one.first > 0 and (one.oldest_ms or now_ms) > timestamp_ms  # something was there before, and is deleted
    ]
    if cut:
        raise OutOfRange(
            f"records of {asked} may be deleted already in {', '.join(sorted(cut))}: begin later, or with the oldest that is there"
        )
    return {where: one.end if one.at_ms is None else min(one.at_ms, one.end) for where, one in held.items()}


def _with_the_rest(offsets: Mapping[Partition, int], held: Mapping[Partition, Held]) -> dict[Partition, int]:
    if strangers := sorted(_name(where) for where in offsets if where not in held):
        known = ", ".join(sorted({topic for topic, _ in held}))
        raise OutOfRange(f"the group reads no {', '.join(strangers)}; its topics: {known}")
    return {
        where: offsets.get(where, one.first if one.committed is None else one.committed) for where, one in held.items()
    }


def _checked(points: dict[Partition, int], held: Mapping[Partition, Held]) -> dict[Partition, int]:
    wrong = [
        f"{_name(where)} has offsets {held[where].first} to {held[where].end}, not {offset}"
        for where, offset in sorted(points.items())
        if not held[where].first <= offset <= held[where].end
    ]
    if wrong:
        raise OutOfRange("; ".join(wrong))
    return points


def _name(where: Partition) -> str:
    return f"{where[0]}:{where[1]}"

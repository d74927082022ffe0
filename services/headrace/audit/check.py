"""Holding chains against their entries: pure, one entry after the other, in the order of ``audit.events``.

Within a chain each entry has to follow from the one before it. The first that does not is the chain's *break*, by this table::

    the entry                                                        what
    is no entry, is not what its hash says, or has another key       edited
    names another hash, though it is the next by number              edited (the entry before it)
    skips numbers, and the next by number comes later                reordered
    skips numbers, and the next by number never comes                missing
    has a number that was there                                      repeated
    is not the last that the service committed                       missing (at the end), or forged (past it)

A gap in *source offsets* is no break: transaction markers and compaction leave them, and the entry after one names the offset
before it, so that the hash covers the gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from headrace.audit.chain import GENESIS, Head, intact
from headrace.audit.reading import Read
from headrace.messages.audit import AuditEvent

What = Literal["edited", "missing", "reordered", "repeated", "forged", "source_edited", "source_missing", "unaudited"]
_NONE: Final = Head(-1, -1, GENESIS)


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain is broken first. ``at``: place in ``audit.events`` (partition, offset), None at the end of the chain.

    ``source_offset`` is that of the record whose entry is wrong: of the first one, where several are missing; None if even that
    can't be told.
    """

    what: What
    source_offset: int | None
    at: tuple[int, int] | None
    detail: str


@dataclass(slots=True)
class Chain:
    """One chain as far as it is read. ``first`` and ``head`` are its oldest and newest good entries."""

    topic: str
    partition: int
    entries: int = 0
    first: Head | None = None
    head: Head | None = None
    head_at: tuple[int, int] | None = None
    broken: Break | None = None
    doubtful: bool = False  # the broken entry is not what it was: its successor knows better of which record it is

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition}"


class Check:
    """``truncated``: partitions of ``audit.events`` whose oldest records retention has deleted: chains may begin anywhere."""

    def __init__(self, truncated: frozenset[int] = frozenset()) -> None:
        self._truncated = truncated
        self.chains: dict[str, Chain] = {}

    def add(self, read: Read) -> AuditEvent | None:
        """Take in the next record; its entry, if it is a good one that continues its chain."""
        entry = read.entry
        whole = entry is not None and intact(entry)
        chain = self._chain(entry.chain if entry is not None and whole else read.key)
        chain.entries += 1
        if chain.broken:
            self._look_again(chain, entry)
            return None
        if entry is None or not whole or entry.chain != read.key:
            offset = entry.source_offset if entry else None
            detail = (
                "is not an entry" if entry is None else "is not what its hash says" if not whole else "has another key"
            )
            chain.broken, chain.doubtful = Break("edited", offset, (read.partition, read.offset), detail), True
            return None
        return self._follow(chain, entry, (read.partition, read.offset))

    def _follow(self, chain: Chain, entry: AuditEvent, at: tuple[int, int]) -> AuditEvent | None:
        before = chain.head
        if before is None and at[0] in self._truncated:
            before = Head(
                entry.sequence - 1, -1 if entry.previous_offset is None else entry.previous_offset, entry.previous_hash
            )
        before = before or _NONE
        chain.broken = _break(before, chain.head_at, entry, at)
        if chain.broken:
            return None
        chain.head, chain.head_at = Head.of(entry), at
        chain.first = chain.first or chain.head
        return entry

    @staticmethod
    def _look_again(chain: Chain, entry: AuditEvent | None) -> None:
        """After the break: what seemed missing may come after all, and the next entry names the record of an edited one."""
        before, broken = chain.head or _NONE, chain.broken
        if broken is None or entry is None or not intact(entry):
            return
        if broken.what == "missing" and entry.previous_hash == before.hash:
            chain.broken = Break("reordered", entry.source_offset, broken.at, f"entry {entry.sequence} comes later")
        elif chain.doubtful and entry.sequence == before.sequence + 2:
            chain.broken, chain.doubtful = replace(broken, source_offset=entry.previous_offset), False

    def finish(self, before: Mapping[str, Head], after: Mapping[str, Head]) -> list[Chain]:
        """All chains, by name. ``before`` and ``after``: the heads that the service had committed before and after the reading."""
        for name, committed in before.items():
            chain = self._chain(name)
            head = chain.head or _NONE
            expired = not chain.entries and self._truncated  # retention may have taken all of it
            if not chain.broken and not expired and head.sequence < committed.sequence:
                lost = f"entries {head.sequence + 1} to {committed.sequence} are missing at the end"
                chain.broken = Break("missing", committed.offset, None, lost)
        for name, committed in after.items():
            chain = self._chain(name)
            if not chain.broken and chain.head and chain.head.sequence > committed.sequence:
                detail = f"the service has written {committed.sequence + 1} entries, and there are more"
                chain.broken = Break("forged", chain.head.offset, chain.head_at, detail)
        return [self.chains[name] for name in sorted(self.chains)]

    def _chain(self, name: str) -> Chain:
        chain = self.chains.get(name)
        if chain is None:
            topic, _, number = name.rpartition("/")
            known = topic and number.isdecimal() and len(number) < 10
            chain = self.chains[name] = Chain(topic, int(number)) if known else Chain(name, -1)
        return chain


def _break(before: Head, before_at: tuple[int, int] | None, entry: AuditEvent, at: tuple[int, int]) -> Break | None:
    """Why ``entry``, which is what its hash says, can't follow ``before``; None if it does."""
    expected = before.sequence + 1
    previous = -1 if entry.previous_offset is None else entry.previous_offset
    if entry.sequence > expected:
        skipped = entry.sequence - expected
        subject = "1 entry is" if skipped == 1 else f"{skipped} entries are"
        text = f"{subject} missing: source offsets after {before.offset}, to {previous}"
        return Break("missing", previous if skipped == 1 else before.offset + 1, at, text)
    if entry.sequence < expected:
        return Break("repeated", entry.source_offset, at, f"entry {entry.sequence} again")
    if entry.previous_hash != before.hash:
        wrong = "the next entry was made after another one"
        return Break("edited", before.offset if before_at else entry.source_offset, before_at or at, wrong)
    if previous != before.offset or entry.source_offset <= before.offset:
        return Break("edited", entry.source_offset, at, "its source offsets do not follow")
    return None

"""The deep check: do the records that are still in the source topics have the bytes that their entries name? Pure.

It keeps, for each chain, the source offsets and digests of its entries (40 bytes each), then takes the records in order::

    the record                                          what
    has no entry, though a later record of it has one   unaudited
    has an entry with another digest                    source_edited
    an entry's record is not there, though it should    source_missing (not in a compacted topic, nor below its oldest record)
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

from headrace.audit.chain import record_digest
from headrace.audit.check import Break
from headrace.messages.audit import AuditEvent
from headrace.runtime.poller import Record

_SIZE: Final = 32


class Digests:
    """Of one chain: source offsets, ascending, and the digest of each."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._digests = bytearray()
        self._next = 0  # first entry whose record was not seen yet
        self.records = 0
        self.broken: Break | None = None

    def add(self, entry: AuditEvent) -> None:
        self._offsets.append(entry.source_offset)
        self._digests += bytes.fromhex(entry.record_digest)

    def begin(self, oldest: int) -> None:
        """The source partition's oldest record is at this offset: nothing is asked of those before it."""
        self._next = bisect_left(self._offsets, oldest)

    def check(self, record: Record, *, compacted: bool) -> None:
        """Take in the next record of the source partition. Those past the last entry are not audited yet, and pass."""
        if self.broken or not self._offsets or record.offset > self._offsets[-1]:
            return
        self.records += 1
        place = bisect_left(self._offsets, record.offset, self._next)
        if place > self._next and not compacted:
            self._missing(place)
        elif place == len(self._offsets) or self._offsets[place] != record.offset:
            self.broken = Break("unaudited", record.offset, None, "the record has no entry")
        elif self._digest(place) != record_digest(record.key, record.value, record.headers):
            self.broken = Break("source_edited", record.offset, None, "the record is not the one that was audited")
        self._next = place + 1

    def end(self, end: int, *, compacted: bool) -> None:
        """The source partition was read to this offset."""
        place = bisect_left(self._offsets, end, self._next)
        if not self.broken and not compacted and place > self._next:
            self._missing(place)

    def _missing(self, place: int) -> None:
        count = place - self._next
        text = f"{count} audited record{' is' if count == 1 else 's are'} not there any more"
        self.broken = Break("source_missing", self._offsets[self._next], None, text)

    def _digest(self, place: int) -> str:
        return self._digests[place * _SIZE : (place + 1) * _SIZE].hex()

"""The offset map: which records past the committed offset are finished, inside the commit's metadata.

A group's committed offset says "everything before is finished". With thousands of records in flight, most of what lies
*after* the first unfinished one is finished too; the map says which, so that a straggler holds nothing back and a restart
repeats nothing. It travels as the ``metadata`` string of the offset commit, atomically with it.

Format (never change it; make a new tag instead)::

    hr1:<base64url without padding of: crc32 (4 bytes, big endian) | payload>
    payload: varint(high - base) | mode byte | body
    mode 0   body = the *unfinished* offsets below high, ascending, each as varint(difference to the one before; first to base)
    mode 1   body = bitmap over [base, high]: bit i (LSB first) set = base + i is finished

Everything in ``[base, high]`` that is not listed as unfinished is finished. Offsets that were never delivered (control records,
compaction) count as finished, which is harmless. The empty string is the empty map.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.messages.errors import FatalError

TAG = "hr1:"
MAX_CHARS = 3_000  # brokers refuse 4,096; some room is kept
MAX_SPAN = 16_384  # a bitmap over this many offsets always fits
MAX_LISTED = 500  # this many unfinished offsets always fit (4 bytes each)


class CorruptOffsetMap(FatalError):
    """Commit metadata that is not an intact map. Going on without it could run finished records again."""


@dataclass(frozen=True, slots=True)
class OffsetMap:
    """Finished offsets past ``base``. ``high`` is the last finished one (``base - 1`` when there is none)."""

    base: int
    high: int
    unfinished: frozenset[int]

    def finished(self, offset: int) -> bool:
        return offset < self.base or (offset <= self.high and offset not in self.unfinished)


def fits(span: int, unfinished: int) -> bool:
    """Whether a map over ``span`` offsets with ``unfinished`` holes is sure to stay within ``MAX_CHARS``."""
    return span <= MAX_SPAN or unfinished <= MAX_LISTED


def encode(base: int, high: int, unfinished: Sequence[int]) -> str:
    """Metadata for a commit at ``base``: ``unfinished`` are the holes in ``[base, high]``, ascending. The shorter mode wins."""
    if high < base:
        return ""
    head = _varint(high - base)
    listed = _listed(base, unfinished)
    body = head + b"\x00" + listed
    if high - base < MAX_SPAN and len(listed) > (high - base) // 8 + 1:
        body = head + b"\x01" + _bitmap(base, high, unfinished)
    text = _text(zlib.crc32(body).to_bytes(4, "big") + body)
    if len(text) > MAX_CHARS:
        raise FatalError(f"offset map of {len(text)} characters: intake was not bounded")
    return text


def decode(base: int, metadata: str | None) -> OffsetMap:
    """Read the metadata that was committed with ``base``.

    Raises:
        CorruptOffsetMap: not a map, or damaged. Reset the group's offsets (which clears it) to start over on purpose.
    """
    if not metadata:
        return OffsetMap(base, base - 1, frozenset())
    try:
        if not metadata.startswith(TAG):
            raise ValueError("unknown tag")
        raw = base64.b64decode(
            metadata[len(TAG) :] + "=" * (-len(metadata[len(TAG) :]) % 4), altchars=b"-_", validate=True
        )
        body = raw[4:]
        if zlib.crc32(body) != int.from_bytes(raw[:4], "big") or _text(raw) != metadata:
            raise ValueError("checksum")
        span, position = _read_varint(body, 0)
        mode, rest = body[position], body[position + 1 :]
        holes = _read_listed(base, rest) if mode == 0 else _read_bitmap(base, span, rest, mode)
    except (ValueError, IndexError, binascii.Error) as error:
        raise CorruptOffsetMap(f"commit metadata at offset {base} is not an intact offset map: {error}") from None
    return OffsetMap(base, base + span, frozenset(holes))


def _text(raw: bytes) -> str:
    return TAG + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _listed(base: int, unfinished: Sequence[int]) -> bytes:
    out, previous = bytearray(), base
    for offset in unfinished:
        out += _varint(offset - previous)
        previous = offset
    return bytes(out)


def _read_listed(base: int, data: bytes) -> list[int]:
    holes, position, previous = [], 0, base
    while position < len(data):
        gap, position = _read_varint(data, position)
        previous += gap
        holes.append(previous)
    return holes


def _bitmap(base: int, high: int, unfinished: Sequence[int]) -> bytes:
    bits = (1 << (high - base + 1)) - 1
    for offset in unfinished:
        bits &= ~(1 << (offset - base))
    return bits.to_bytes((high - base) // 8 + 1, "little")


def _read_bitmap(base: int, span: int, data: bytes, mode: int) -> list[int]:
    if mode != 1 or len(data) != span // 8 + 1:
        raise ValueError("unknown mode or length")
    bits = int.from_bytes(data, "little")
    return [base + i for i in range(span + 1) if not bits >> i & 1]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")

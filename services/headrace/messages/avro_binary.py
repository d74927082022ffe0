"""Avro's binary encoding, the writing half: from a value to its bytes (specification 1.12, "Binary Encoding").

Each function writes one kind of value; ``messages.avro`` joins them by a message's annotations. Written here, not by way of
``fastavro`` and a dictionary for it, since a result takes 14 us this way and 32 us that way, and there is one for each run and one
audit entry for each record. Reading stays with the library: it knows how to read what other versions wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

Write = Callable[[Any], bytes]
double: Final[Write] = struct.Struct("<d").pack
_NULL_BRANCH, _OTHER_BRANCH = b"\x00", b"\x02"
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_KEPT: Final = 4_096
_to_json: Final = msgspec.json.Encoder().encode


def long(value: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first. Raises ``OverflowError`` past 64 bits."""
    if 0 <= value < _KEPT:
        return _LONGS[value]
    if not _LOWEST <= value <= _HIGHEST:
        raise OverflowError("an Avro long has 64 bits")
    return _long(value)


def _long(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_LONGS: Final = [_long(value) for value in range(_KEPT)]  # lengths, mostly


def string(value: str) -> bytes:
    """Raises ``UnicodeEncodeError`` for a lone surrogate."""
    data = value.encode()
    return long(len(data)) + data


def boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def json_text(value: Any) -> bytes:
    """Any JSON value as a string that holds it."""
    data = _to_json(value)
    return long(len(data)) + data


def nullable(write: Write) -> Write:
    """A union of null, which is its first branch, and what ``write`` writes."""
    return lambda value: _NULL_BRANCH if value is None else _OTHER_BRANCH + write(value)


def array(write: Write) -> Write:
    """One block of all items, and the empty block that ends it."""
    return lambda values: b"".join([long(len(values)), *map(write, values), b"\x00"]) if values else b"\x00"


def record(fields: Sequence[tuple[str, Write]]) -> Write:
    """The fields' values in this order, nothing between them. Of at least two fields."""
    values_of = attrgetter(*[name for name, _ in fields])
    writes = [write for _, write in fields]
    return lambda value: b"".join([write(field) for write, field in zip(writes, values_of(value), strict=True)])

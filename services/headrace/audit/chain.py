"""How an entry is hashed and linked. Pure; **never change any of it**: stored chains depend on the bytes.

    record_digest  SHA-256 over key, value, the number of headers (8 bytes), and each header's name and value, in order. Each part
                   is its length (8 bytes, big endian) and its bytes; a null is the length 2^64-1 alone.
    hash           SHA-256 over previous_hash (64 hex digits, ASCII) and the canonical content
    content        JSON in UTF-8 without white space, keys sorted: the entry's fields without ``hash`` and ``previous_hash``,
                   those at their default left out; a float is the hex of its IEEE 754 double, big endian

Fields at their defaults are left out, so an optional field that a later version adds changes no hash of an older entry. Any
language can repeat this from the Avro value alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import msgspec

from headrace.messages.audit import AuditEvent
from headrace.messages.base import defaults_of
from headrace.messages.canonical import canonical_json
from headrace.messages.headers import RawHeaders
from headrace.messages.ids import audit_id
from headrace.runtime.api import Source

GENESIS: Final = "0" * 64
_NULL: Final = b"\xff" * 8
_LENGTH: Final = struct.Struct(">Q")
_DOUBLE: Final = struct.Struct(">d")
_NOT_CONTENT: Final = frozenset({"hash", "previous_hash"})
_DEFAULTS: Final = defaults_of(AuditEvent)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain, as the next one needs it."""

    sequence: int
    offset: int  # of the source record
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.offset}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` gave. Raises ``ValueError``."""
        sequence, offset, digest = text.split(":")
        return cls(int(sequence), int(offset), digest)

    @classmethod
    def of(cls, entry: AuditEvent) -> Self:
        return cls(entry.sequence, entry.source_offset, entry.hash)


def record_digest(key: bytes | None, value: bytes | None, headers: RawHeaders) -> str:
    """Names the record by its bytes."""
    parts = [_part(key), _part(value), _LENGTH.pack(len(headers))]
    for name, content in headers:
        parts.append(_name(name))
        parts.append(_part(content))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@lru_cache(1_024)  # the same dozen names in record after record
def _name(text: str) -> bytes:
    return _part(text.encode("utf-8", "surrogateescape"))


def _part(data: bytes | None) -> bytes:
    return _NULL if data is None else _LENGTH.pack(len(data)) + data


def entry_hash(entry: AuditEvent) -> str:
    """What ``entry.hash`` has to be."""
    return _hash(entry.previous_hash, msgspec.structs.asdict(entry))


def _hash(previous_hash: str, fields: Mapping[str, Any]) -> str:
    content = {
        name: _DOUBLE.pack(value).hex() if isinstance(value, float) else value
        for name, value in fields.items()
        if value is not None and value != _DEFAULTS.get(name, msgspec.NODEFAULT) and name not in _NOT_CONTENT
    }
    return hashlib.sha256(previous_hash.encode() + canonical_json(content)).hexdigest()


def link(previous: Head | None, source: Source, timestamp_ms: int, digest: str, facts: dict[str, Any]) -> AuditEvent:
    """The entry after ``previous``. ``facts``: the fields that ``audit.facts`` found, ``kind`` among them."""
    fields: dict[str, Any] = facts | {
        "id": audit_id(source.topic, source.partition, source.offset),
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "source_timestamp_ms": timestamp_ms,
        "record_digest": digest,
        "sequence": previous.sequence + 1 if previous else 0,
        "previous_offset": previous.offset if previous else None,
        "previous_hash": previous.hash if previous else GENESIS,
    }
    return AuditEvent.checked(fields | {"hash": _hash(fields["previous_hash"], fields)})


def intact(entry: AuditEvent) -> bool:
    """Whether the entry is what its hash says."""
    return entry_hash(entry) == entry.hash

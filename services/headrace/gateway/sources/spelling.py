"""Digests, keys and times as senders spell them. A digest has one spelling: two texts are never both the same signature."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

from headrace.messages.errors import FatalError

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
_DIGITS: Final = re.compile(r"[0-9]{1,16}")


def decoded(text: str, encoding: str) -> bytes | None:
    """The bytes of the one canonical spelling in ``encoding`` (hex or base64); None for any other text."""
    try:
        if encoding == "hex":
            data = binascii.unhexlify(text)
            return data if data.hex() == text else None
        data = base64.b64decode(text, validate=True)
        return data if base64.b64encode(data).decode() == text else None
    except ValueError:
        return None


def encoded(data: bytes, encoding: str) -> str:
    return data.hex() if encoding == "hex" else base64.b64encode(data).decode()


def key_bytes(secret: bytes, prefix: str, variable: str) -> bytes:
    """A key that is spelled in base64, with or without ``prefix`` and padding. Raises ``FatalError`` naming ``variable``."""
    text = secret.removeprefix(prefix.encode()).rstrip(b"=")
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise FatalError(f"{variable}: not a key in base64 (after an optional {prefix})")
    return key


def epoch(text: str, form: str) -> float | None:
    """Epoch seconds of a timestamp: ``unix`` seconds, ``unix-ms``, or ``rfc3339`` in UTC; None if it is none."""
    if form == "rfc3339":
        if not _RFC3339.fullmatch(text):
            return None
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            return None
    if not _DIGITS.fullmatch(text):
        return None
    return int(text) / 1000 if form == "unix-ms" else float(int(text))


def timestamp(now: float, form: str) -> str:
    """``now`` (epoch seconds) as a sender writes it."""
    if form == "rfc3339":
        return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(int(now * 1000) if form == "unix-ms" else int(now))

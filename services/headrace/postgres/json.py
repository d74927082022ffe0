"""JSON on its way into ``jsonb`` and back.

``jsonb`` and ``text`` can hold every character but NUL, which JSON may well contain. NUL is stored as U+2400, the symbol for it.
Whoever must give back the exact bytes asks ``has_nul`` first and keeps them in a blob.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

NUL: Final = "\x00"
NUL_SYMBOL: Final = "\u2400"
_VERSION: Final = b"\x01"  # jsonb's binary form: a version byte, then the text
_ESCAPE: Final = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_NUL_ESCAPE: Final = rb"\u0000"


def has_nul(document: bytes) -> bool:
    """Whether a string or key of this JSON text (as orjson writes it) contains NUL."""
    return _NUL_ESCAPE in document and any(match[0] == _NUL_ESCAPE for match in _ESCAPE.finditer(document))


def storable(document: bytes) -> bytes:
    """This JSON text with U+2400 for each NUL."""
    if _NUL_ESCAPE not in document:
        return document
    return _ESCAPE.sub(lambda match: rb"\u2400" if match[0] == _NUL_ESCAPE else match[0], document)


def storable_text(text: str) -> str:
    """This text with U+2400 for each NUL."""
    return text.replace(NUL, NUL_SYMBOL) if NUL in text else text


def encode_jsonb(value: Any) -> bytes:
    """Binary ``jsonb`` of a JSON value. Raises ``TypeError`` for anything that is not JSON."""
    return _VERSION + storable(value.data if isinstance(value, Document) else orjson.dumps(value))


def decode_jsonb(data: bytes) -> Any:
    return orjson.loads(data[1:])


class Document:
    """JSON text that needs no encoding any more."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

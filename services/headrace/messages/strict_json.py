"""JSON from strangers, read strictly and within bounds.

``orjson`` is fast but silent about duplicate keys and lossy with huge numbers, and each of those has been used to make two
readers of one message disagree. ``loads`` accepts exactly RFC 8259 text in UTF-8 and refuses, naming the place:
nesting deeper than ``max_depth``, duplicate keys in an object, integers outside 64 bits, floats that overflow, NaN/Infinity,
and lone surrogates. Errors carry a JSON pointer or a byte offset, never the text itself.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from headrace.messages.errors import UndecodableMessage

MAX_DEPTH = 64
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_MAX_DIGITS = 20  # of the largest integer that is accepted; longer ones are refused before int() sees them
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def loads(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON document.

    Raises:
        UndecodableMessage: with ``cause`` ``json`` (syntax), ``json_depth``, ``json_duplicate_key``, ``json_number`` or
            ``json_encoding`` and ``where`` it is.
    """
    _check_depth(data, max_depth)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad("not UTF-8", "json_encoding", f"byte {error.start}") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=_bounded_int, parse_float=_finite, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise _bad(f"not JSON: {error.msg}", "json", f"byte {len(text[: error.pos].encode())}") from None
    except RecursionError:
        raise _bad("nested too deeply", "json_depth", None) from None
    if "\\ud" in text or "\\uD" in text:  # only an escape can smuggle a lone surrogate into valid UTF-8
        _check_surrogates(value)
    return value


def _check_depth(data: bytes, limit: int) -> None:
    """Count brackets outside strings first: the parser itself would recurse on a depth bomb."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(data):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            if depth > limit:
                raise _bad(f"nested deeper than {limit}", "json_depth", f"byte {match.start()}")
        elif token in (b"]", b"}"):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _bad("duplicate key in an object", "json_duplicate_key", f"key {key[:64]!r}")
            seen.add(key)
    return result


def _bounded_int(text: str) -> int:
    if len(text) <= _MAX_DIGITS + 1 and _INT_MIN <= (value := int(text)) <= _INT_MAX:
        return value
    raise _bad("integer outside 64 bits", "json_number", f"number {text[:24]}")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _bad("number too large", "json_number", f"number {text[:24]}")
    return value


def _constant(text: str) -> NoReturn:
    raise _bad(f"{text} is not JSON", "json_number", None)


def _check_surrogates(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if not item.isascii() and any("\ud800" <= c <= "\udfff" for c in item):
                raise _bad("lone surrogate in a string", "json_encoding", None)
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _bad(message: str, cause: str, where: str | None) -> UndecodableMessage:
    return UndecodableMessage(message, cause=cause, where=where)

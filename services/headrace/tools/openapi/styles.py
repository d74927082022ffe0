"""How parameters are written: OpenAPI's ``style`` and ``explode`` (OAS 3.1, section 4.8.12). Pure.

Values are percent-encoded apart from the delimiters of a style, so no value can add a parameter or leave its path segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from headrace.tools.openapi.errors import BadParams

Pair = tuple[str, str]
_RESERVED: Final = ":/?#[]@!$&'()*+,;="
_DELIMITERS: Final = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
_MAX_DEPTH: Final = 8


def path_segment(name: str, value: Any, style: str, explode: bool) -> str:
    """``value`` for ``{name}``, encoded. Raises ``BadParams`` for one that would lead to another path."""
    for text in _leaves(value):
        if not text or any(part in (".", "..") for part in text.replace("\\", "/").split("/")):
            raise BadParams(f"the path parameter {name} may be neither empty nor have . or .. as a part")
    if style == "matrix":
        return _matrix(name, value, explode)
    if style == "label":
        return "." + _joined(value, "." if explode else ",", explode, _encoded)
    return _joined(value, ",", explode, _encoded)


def query_pairs(name: str, value: Any, style: str, explode: bool, *, reserved: bool = False) -> list[Pair]:
    """Encoded names and values. ``reserved``: reserved characters stay as they are, but ``#``, ``&`` and ``+``."""

    def encoded(text: str) -> str:
        return (
            quote(text, safe=_RESERVED.translate({ord(c): None for c in "#&+"})) if reserved else quote(text, safe="")
        )

    if style == "deepObject":
        return list(_deep(quote(name, safe=""), value, 0))
    if explode and isinstance(value, dict):
        return [(quote(key, safe=""), encoded(_text(item))) for key, item in value.items()]
    if explode and isinstance(value, list):
        return [(quote(name, safe=""), encoded(_text(item))) for item in value]
    return [(quote(name, safe=""), _joined(value, _DELIMITERS.get(style, ","), False, encoded))]


def header_value(name: str, value: Any, explode: bool) -> str:
    text = _joined(value, ",", explode, str)
    if any(ord(c) < 32 or ord(c) > 126 for c in text):
        raise BadParams(f"the header {name} takes printable ASCII only")
    return text


def _matrix(name: str, value: Any, explode: bool) -> str:
    if explode and isinstance(value, dict):
        return "".join(f";{_encoded(key)}={_encoded(_text(item))}" for key, item in value.items())
    if explode and isinstance(value, list):
        return "".join(f";{name}={_encoded(_text(item))}" for item in value)
    return f";{name}=" + _joined(value, ",", False, _encoded)


def _joined(value: Any, delimiter: str, explode: bool, encoded: Any) -> str:
    """``simple`` and its relatives: items of a list, or keys and values of an object, with a delimiter in between."""
    if isinstance(value, list):
        return delimiter.join(encoded(_text(item)) for item in value)
    if isinstance(value, dict):
        between = "=" if explode else delimiter
        return delimiter.join(f"{encoded(key)}{between}{encoded(_text(item))}" for key, item in value.items())
    return str(encoded(_text(value)))


def _deep(prefix: str, value: Any, depth: int) -> Iterator[Pair]:
    """``name[key]=value``, and further brackets for what is nested, as is usual though OpenAPI leaves it open."""
    if depth > _MAX_DEPTH:
        raise BadParams("a parameter is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _deep(f"{prefix}%5B{quote(key, safe='')}%5D", item, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _deep(f"{prefix}%5B{index}%5D", item, depth + 1)
    else:
        yield prefix, _encoded(_text(value))


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(_text(item) for item in value.values())]
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if value is None:
        return ""
    raise BadParams("a parameter has lists or objects within another, which its style can't write")


def _encoded(text: str) -> str:
    return quote(text, safe="")

"""Values of a canonical event, as rules write them, compiled to functions that read a stranger's JSON and never fail.

    repository.full_name          the text (or whole number) at that path through objects; a digit is a place in a list
    @x-github-event               an HTTP header that the gateway forwarded
    object_attributes.url|bare    the same, through a transform; None if the transform does not take it
    com.gitlab.{object_kind}      a template: text with such values in it; None unless each of them is there
    data.issue?issue              the text behind the mark, if there is anything at that path
    =https://github.com           that text

What is not there, or not of the wanted kind, is None. Paths are split once, when the rules are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from headrace.ingest.normalise.declared.transforms import TRANSFORMS
from headrace.ingest.normalise.times import moment

Json = dict[str, Any]
Headers = Mapping[str, str]
Raw = Callable[[Json, Headers], Any]
Text = Callable[[Json, Headers], str | None]
Transform = Callable[[str], str | None]

_PART: Final = re.compile(r"\{([^{}]+)\}")
_PATH: Final = re.compile(r"@?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class BadValue(ValueError):
    """Not a value that rules can name."""


def text(written: str, default_transform: str | None = None) -> Text:
    """The text of ``written``. Parts without a transform of their own get ``default_transform``. Raises ``BadValue``."""
    if written.startswith("="):
        return _constant(written[1:])
    path, mark, constant = written.partition("?")
    if mark and "{" not in path:
        return _conditional(raw(path), constant)
    pieces = _PART.split(written)
    if len(pieces) == 1:
        return _part(written, default_transform)
    parts = [_part(piece, default_transform) for piece in pieces[1::2]]
    return _template(pieces[0], list(zip(parts, pieces[2::2], strict=True)))


def raw(path: str) -> Raw:
    """Whatever JSON is at ``path``, or the header's text. Raises ``BadValue``."""
    if not _PATH.fullmatch(path):
        raise BadValue(f"not a path: {path!r}")
    if path.startswith("@"):
        return _header(path[1:])
    keys = tuple(path.split("."))
    if any(key.isdigit() for key in keys):
        return _through_lists(keys)
    if len(keys) == 1:
        return _top(keys[0])
    return _second(*keys) if len(keys) == 2 else _deep(keys)


def first(candidates: Sequence[Text]) -> Text:
    """The first of ``candidates`` that is there."""
    if len(candidates) == 1:
        return candidates[0]

    def get(body: Json, headers: Headers) -> str | None:
        for candidate in candidates:
            if found := candidate(body, headers):
                return found
        return None

    return get


def first_time(candidates: Sequence[Raw]) -> Text:
    """The first of ``candidates`` that is a time, in canonical form."""

    def get(body: Json, headers: Headers) -> str | None:
        for candidate in candidates:
            if found := moment(candidate(body, headers)):
                return found
        return None

    return get


def place(written: str, at: str = "") -> str:
    """Where a value was looked for, as an error says it: ``/object_kind``, ``header x-github-event``; in a body at ``at``."""
    path = re.split(r"[|?]", (_PART.findall(written) or [written])[0])[0]
    return f"header {path[1:]}" if path.startswith("@") else f"{at}/{path.replace('.', '/')}"


def as_text(found: Any) -> str | None:
    """Non-empty text; whole numbers count as text, since ids are often numbers."""
    if type(found) is str:
        return found or None
    return str(found) if type(found) is int else None


def _part(written: str, default_transform: str | None) -> Text:
    path, _, name = written.partition("|")
    read = raw(path)
    if not (name := name or default_transform or ""):
        return lambda body, headers: as_text(read(body, headers))
    if name not in TRANSFORMS:
        raise BadValue(f"no transform {name!r}; there are: {', '.join(TRANSFORMS)}")
    return _transformed(read, TRANSFORMS[name])


def _transformed(read: Raw, transform: Transform) -> Text:
    def get(body: Json, headers: Headers) -> str | None:
        found = as_text(read(body, headers))
        return None if found is None else transform(found)

    return get


def _template(start: str, parts: list[tuple[Text, str]]) -> Text:
    def get(body: Json, headers: Headers) -> str | None:
        result = start
        for part, after in parts:
            found = part(body, headers)
            if not found:
                return None
            result += found + after
        return result

    return get


def _constant(value: str) -> Text:
    return lambda body, headers: value


def _conditional(read: Raw, value: str) -> Text:
    return lambda body, headers: None if read(body, headers) is None else value


def _header(name: str) -> Raw:
    return lambda body, headers: headers.get(name)


def _top(key: str) -> Raw:
    return lambda body, headers: body.get(key)


def _second(first_key: str, key: str) -> Raw:
    def get(body: Json, headers: Headers) -> Any:
        inner = body.get(first_key)
        return inner.get(key) if type(inner) is dict else None

    return get


def _deep(keys: tuple[str, ...]) -> Raw:
    def get(body: Json, headers: Headers) -> Any:
        value: Any = body
        for key in keys:
            if type(value) is not dict:
                return None
            value = value.get(key)
        return value

    return get


def _through_lists(keys: tuple[str, ...]) -> Raw:
    places = [(key, int(key) if key.isdigit() else -1) for key in keys]

    def get(body: Json, headers: Headers) -> Any:
        value: Any = body
        for key, index in places:
            if type(value) is dict:
                value = value.get(key)
            elif type(value) is list and 0 <= index < len(value):
                value = value[index]
            else:
                return None
        return value

    return get

"""How request bodies are written: JSON, forms, text. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jsonschema_rs
import orjson

from headrace.messages.base import JsonObject
from headrace.tools.openapi import styles
from headrace.tools.openapi.errors import BadParams

_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"


class Content(NamedTuple):
    """A body's bytes and their Content-Type."""

    data: bytes
    type: str


@dataclass(frozen=True, slots=True)
class Media:
    """One media type of a request body. ``encoding`` is OpenAPI's, by the form's field."""

    type: str
    encoding: JsonObject
    check: jsonschema_rs.Validator = field(repr=False)

    @staticmethod
    def choose(offered: list[str]) -> str | None:
        """The one of ``offered`` that says most and can be written here; None if there is none."""
        bare = {_bare(name): name for name in reversed(offered)}
        json = next((name for name in bare if _is_json(name)), None)
        return next((bare[name] for name in (json, _FORM, _MULTIPART, "text/plain", "*/*") if name in bare), None)


def encode(media: Media, body: Any) -> Content:
    """Raises ``BadParams``."""
    bare = _bare(media.type)
    if bare == "text/plain":
        return Content(str(body).encode(), "text/plain; charset=utf-8")
    if bare in (_FORM, _MULTIPART):
        if not isinstance(body, dict):
            raise BadParams("the body is a form: give an object of its fields")
        return _form(media, body) if bare == _FORM else _multipart(body)
    return Content(orjson.dumps(body), "application/json" if bare == "*/*" else media.type)


def _form(media: Media, body: JsonObject) -> Content:
    pairs: list[styles.Pair] = []
    for name, value in body.items():
        how = media.encoding.get(name)
        how = how if isinstance(how, dict) else {}
        style = str(how.get("style") or "form")
        if isinstance(value, dict) and "style" not in how:
            value = orjson.dumps(value).decode()  # a field's default content type is then application/json
        explode = how["explode"] if isinstance(how.get("explode"), bool) else style == "form"
        pairs += styles.query_pairs(name, value, style, explode)
    return Content("&".join(f"{name}={value}" for name, value in pairs).encode(), _FORM)


def _multipart(body: JsonObject) -> Content:
    parts = list(_parts(body))
    boundary = hashlib.sha256(b"".join(parts)).hexdigest()  # of the content, so that a repeated call is the same bytes
    lines = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return Content(b"".join(lines) + f"--{boundary}--\r\n".encode(), f"{_MULTIPART}; boundary={boundary}")


def _parts(body: JsonObject) -> Iterator[bytes]:
    for name, value in body.items():
        if any(c in name for c in '"\r\n\\'):
            raise BadParams("a field of the form has a name that can't be written")
        head = f'Content-Disposition: form-data; name="{name}"\r\n'
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict | list):
                yield (head + "Content-Type: application/json\r\n\r\n").encode() + orjson.dumps(item)
            else:
                text = "true" if item is True else "false" if item is False else "" if item is None else str(item)
                yield (head + "\r\n" + text).encode()


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _is_json(bare: str) -> bool:
    return bare == "application/json" or (bare.startswith("application/") and bare.endswith("+json"))

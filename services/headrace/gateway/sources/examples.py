"""Example deliveries of the sources: ``examples/NAME.yaml`` beside the source files, each shaped as its sender documents it.

``{{id}}``, ``{{unix}}`` and ``{{rfc3339}}`` in an example become a new id and the present time: sent twice, it is two deliveries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import yaml
from pydantic import Field, TypeAdapter, ValidationError

from headrace.gateway.problems import JSON
from headrace.gateway.sources.model import FORM
from headrace.gateway.sources.schemes import HeaderName, Strict
from headrace.gateway.sources.spelling import timestamp
from headrace.messages.errors import FatalError


class _Entry(Strict):
    """``body`` is JSON as YAML, ``form`` the fields of a form."""

    name: str = Field(min_length=1, max_length=100)
    headers: dict[HeaderName, str] = Field(default={})
    body: Any = None
    form: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A delivery without its proof; ``headers`` has the content type."""

    name: str
    id: str
    headers: dict[str, str]
    body: bytes


def examples(source: str, directory: Path | None, *, ids: Iterator[str], now: float) -> list[Example]:
    """The examples of ``source``, built-in or below ``directory``, each with the next of ``ids``; none where there is no such file.

    Raises:
        FatalError: the file is not what it should be.
    """
    try:
        entries = _ENTRIES.validate_python(yaml.load(_text(source, directory), Loader=yaml.CSafeLoader) or [])
    except (yaml.YAMLError, ValidationError):
        raise FatalError(
            f"examples of webhook source {source}: not a list of name, headers, and body or form"
        ) from None
    time = timestamp(now, "unix"), timestamp(now, "rfc3339")
    return [_example(entry, id_, *time) for entry, id_ in zip(entries, ids, strict=False)]


def _text(source: str, directory: Path | None) -> str:
    builtin = resources.files(__package__) / "examples" / f"{source}.yaml"
    if builtin.is_file():
        return builtin.read_text(encoding="utf-8")
    own = directory / "examples" / f"{source}.yaml" if directory else None
    return own.read_text(encoding="utf-8") if own and own.is_file() else ""


def _example(entry: _Entry, id_: str, unix: str, rfc3339: str) -> Example:
    def filled(text: str) -> str:
        return text.replace("{{id}}", id_).replace("{{unix}}", unix).replace("{{rfc3339}}", rfc3339)

    headers = {name: filled(value) for name, value in entry.headers.items()}
    if entry.form is not None:
        form = {name: filled(value) for name, value in entry.form.items()}
        return Example(entry.name, id_, {"content-type": FORM, **headers}, urlencode(form).encode())
    body = filled(orjson.dumps(entry.body).decode()).encode()
    return Example(entry.name, id_, {"content-type": JSON, **headers}, body)


_ENTRIES: Final = TypeAdapter(list[_Entry])

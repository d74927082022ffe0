"""The edit of dead letters that go back: a JSON Patch, or the value that takes the place of the record's own.

What comes of it has to be a message of its topic, so that an edit with a slip is refused instead of failing once more.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import orjson

from headrace.messages import headers as record_headers
from headrace.messages import strict_json
from headrace.messages.catalog import message_on
from headrace.messages.errors import BadMessage
from headrace.messages.ids import short_hash
from headrace.runtime.deadletters import Edit, Entry
from headrace.workflows.load import InvalidWorkflow
from headrace.workflows.patching import Operation, patched, read_operations


class CantEdit(BadMessage):
    """The edit can't be made on this entry. The text names the entry and the place, and quotes no values."""

    cause = "cant_edit"


def read_edit(path: Path) -> Edit:
    """The edit in a file. Raises ``CantEdit``."""
    try:
        return edit_of(path.read_bytes(), str(path))
    except OSError as error:
        raise CantEdit(f"{path}: {error.strerror}") from None


def edit_of(data: bytes, source: str) -> Edit:
    """The edit in a JSON text; ``source`` says in errors where that is from. Raises ``CantEdit``."""
    try:
        content = strict_json.loads(data)
    except BadMessage as error:
        raise CantEdit(f"{source}: {error}") from None
    operations = _operations(source, content)
    return Edit(lambda entry: _applied(entry, content, operations), short_hash(data))


def _operations(source: str, content: Any) -> tuple[Operation, ...] | None:
    """None: ``content`` is no patch, but a value."""
    if not (isinstance(content, list) and content and all(isinstance(one, dict) and "op" in one for one in content)):
        return None
    try:
        return read_operations(content)
    except InvalidWorkflow as error:
        raise CantEdit(f"{source}: {_told(error)}") from None


def _applied(entry: Entry, content: Any, operations: tuple[Operation, ...] | None) -> bytes:
    kind = message_on(entry.topic)
    if kind is None or kind.FORMAT == "avro":
        raise CantEdit(f"dead letter {entry.id}: records of {entry.topic} can't be edited")
    if any(name == record_headers.DATA_REF for name, _ in entry.headers):
        raise CantEdit(f"dead letter {entry.id}: its value is in the blob store, and can't be edited")
    value = copy.deepcopy(content) if operations is None else _patched(entry, operations)
    if kind.FORMAT == "json":
        try:
            kind.checked(value)
        except (msgspec.ValidationError, ValueError) as error:
            raise CantEdit(f"dead letter {entry.id}, edited: {error}") from None
    return orjson.dumps(value)


def _patched(entry: Entry, operations: tuple[Operation, ...]) -> Any:
    try:
        value = strict_json.loads(entry.value or b"")
    except BadMessage:
        raise CantEdit(f"dead letter {entry.id} is no JSON: give the whole value in place of a patch") from None
    if not isinstance(value, dict):
        raise CantEdit(f"dead letter {entry.id} is no JSON object: give the whole value in place of a patch")
    try:
        return patched(value, operations, within=None)
    except InvalidWorkflow as error:
        raise CantEdit(f"dead letter {entry.id}: {_told(error)}") from None


def _told(error: InvalidWorkflow) -> str:
    return "; ".join(problem.message for problem in error.problems)

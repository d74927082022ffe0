"""JSON Patch (RFC 6902) on a definition: ``add``, ``remove`` and ``replace``, and an error that names operation and path.

What a patch may touch is nodes, edges, triggers and the description; tag and owner are not its to change. The result is checked as
a whole like any definition, so an operation in the middle may well leave an edge that leads nowhere.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headrace.messages.base import JsonObject, Part
from headrace.registry.load import Problem
from headrace.workflows.load import InvalidWorkflow

MAX_OPERATIONS: Final = 100
PATCHABLE: Final = ("nodes", "edges", "triggers", "description")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class Operation(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``value`` is for ``add`` and ``replace``; null is a value."""

    op: Literal["add", "remove", "replace"]
    path: Annotated[str, Meta(max_length=1_024, description="JSON Pointer (RFC 6901) into the definition")]
    value: Any | UnsetType = UNSET


class _Refused(ValueError):
    """An operation that can't be carried out."""


def read_operations(value: Any) -> tuple[Operation, ...]:
    """Raises ``InvalidWorkflow`` for what is no list of operations."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_OPERATIONS:
        raise InvalidWorkflow((Problem(f"a list of 1 to {MAX_OPERATIONS} operations", ("operations",)),))
    read, wrong = [], []
    for number, item in enumerate(value):
        try:
            read.append(msgspec.convert(item, Operation))
        except msgspec.ValidationError as error:
            wrong.append(Problem(str(error), ("operations", number)))
    if wrong:
        raise InvalidWorkflow(tuple(wrong))
    return tuple(read)


def patched(
    document: JsonObject, operations: Sequence[Operation], within: Collection[str] | None = PATCHABLE
) -> JsonObject:
    """A copy of ``document`` after all ``operations``, in order; ``within`` are the members that they may touch (None: any).

    Raises ``InvalidWorkflow`` for the first that can't be done.
    """
    result = copy.deepcopy(document)
    for number, operation in enumerate(operations):
        try:
            _apply(result, operation, within)
        except _Refused as reason:
            raise InvalidWorkflow((Problem(f"{operation.path}: {reason}", ("operations", number, "path")),)) from None
    return result


def _apply(document: JsonObject, operation: Operation, within: Collection[str] | None) -> None:
    steps = _steps(operation.path, within)
    if operation.op != "remove" and operation.value is UNSET:
        raise _Refused(f"{operation.op} needs a value")
    parent: Any = document
    for step in steps[:-1]:
        parent = _child(parent, step)
    if isinstance(parent, list):
        _in_list(parent, steps[-1], operation)
    elif isinstance(parent, dict):
        _in_object(parent, steps[-1], operation)
    else:
        raise _Refused("its parent is neither a list nor an object")


def _steps(path: str, within: Collection[str] | None) -> list[str]:
    if not path.startswith("/"):
        raise _Refused("a path begins with /")
    if _BAD_ESCAPE.search(path):
        raise _Refused("~ is written ~0, and / within a name ~1")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    if within is not None and steps[0] not in within:
        raise _Refused(f"a patch changes {', '.join(within)}, and nothing else")
    return steps


def _child(parent: Any, step: str) -> Any:
    if isinstance(parent, list):
        return parent[_index(parent, step, len(parent) - 1)]
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    raise _Refused(f"there is no {step!r}")


def _in_list(items: list[Any], step: str, operation: Operation) -> None:
    if operation.op == "add":
        items.insert(len(items) if step == "-" else _index(items, step, len(items)), copy.deepcopy(operation.value))
        return
    place = _index(items, step, len(items) - 1)
    if operation.op == "remove":
        del items[place]
    else:
        items[place] = copy.deepcopy(operation.value)


def _in_object(fields: JsonObject, step: str, operation: Operation) -> None:
    if operation.op != "add" and step not in fields:
        raise _Refused(f"there is no {step!r}")
    if operation.op == "remove":
        del fields[step]
    else:
        fields[step] = copy.deepcopy(operation.value)


def _index(items: list[Any], step: str, last: int) -> int:
    if not _INDEX.fullmatch(step):
        raise _Refused(f"{step!r} is no place in a list")
    if int(step) > last:
        raise _Refused(f"there are {len(items)} items, counted from 0")
    return int(step)

"""The primitives once more, as plainly as can be: slow, direct readings of their documentation, sharing no code with them."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

Rows = list[dict[str, Any]]


def kind(value: Any) -> str:
    return {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}.get(
        type(value), "other"
    )


def same(a: Any, b: Any) -> bool:
    if kind(a) != kind(b):
        return False
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def value(row: dict[str, Any], path: str) -> Any:
    """A field by its key, or by the keys on the way to it."""
    if path in row or "." not in path:
        return row.get(path)
    here: Any = row
    for part in path.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here


def sort(rows: Rows, field: str, order: str) -> Rows:
    """Insertion: walk to the left as long as the neighbour must come later."""
    result: Rows = []
    for row in rows:
        place = len(result)
        while place > 0 and later(result[place - 1].get(field), row.get(field), order):
            place -= 1
        result.insert(place, row)
    return result


def later(a: Any, b: Any, order: str) -> bool:
    """Whether a comes strictly after b."""
    kinds = ["number", "string", "boolean", "other", "null"]
    if kind(a) != kind(b):
        return kinds.index(kind(a)) > kinds.index(kind(b))
    if kind(a) in ("other", "null"):
        return False
    return bool(a > b) if order == "asc" else bool(a < b)


def holds(row: dict[str, Any], condition: dict[str, Any]) -> bool:
    if "all" in condition:
        return [part for part in condition["all"] if not holds(row, part)] == []
    if "any" in condition:
        return [part for part in condition["any"] if holds(row, part)] != []
    if "not" in condition:
        return not holds(row, condition["not"])
    left, op, right = row.get(condition["field"]), condition["op"], condition["value"]
    if op in ("==", "!="):
        return same(left, right) is (op == "==")
    if op == "in":
        return any(same(left, item) for item in right)
    if op == "contains":
        if isinstance(left, str):
            return isinstance(right, str) and left.find(right) >= 0
        return isinstance(left, list) and any(same(item, right) for item in left)
    if kind(left) not in ("number", "string") or kind(left) != kind(right):
        return False
    sign = (left > right) - (left < right)
    return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[op]


def group(rows: Rows, by: list[str], agg: str, field: str | None) -> Rows:
    result: Rows = []
    seen: list[list[Any]] = []
    for row in rows:
        key = [row.get(name) for name in by]
        if any(same(key, other) for other in seen):
            continue
        seen.append(key)
        members = [other for other in rows if same([other.get(name) for name in by], key)]
        result.append(dict(zip(by, key, strict=True)) | {agg: aggregate(members, agg, field)})
    return result


def aggregate(rows: Rows, agg: str, field: str | None) -> Any:
    if field is None:
        return len(rows)
    values = [row[field] for row in rows if row.get(field) is not None]
    if agg == "count":
        return len(values)
    if not values:
        return None
    if agg in ("sum", "avg"):
        total = sum((Fraction(value) for value in values), Fraction(0))
        if agg == "sum":
            return int(total) if all(isinstance(value, int) for value in values) else float(total)
        return float(total) / len(values)
    best = values[0]
    for value in values[1:]:
        if (value < best) if agg == "min" else (value > best):
            best = value
    return best


def join(left: Rows, right: Rows, on: str) -> Rows:
    """Every pair, looked at."""
    twice = {name for row in left for name in row} & {name for row in right for name in row} - {on}
    result: Rows = []
    for ours in left:
        for theirs in right:
            if ours.get(on) is None or not same(ours[on], theirs.get(on)):
                continue
            row = dict(ours)
            for name, value in theirs.items():
                if name != on:
                    row["right_" + name if name in twice else name] = value
            result.append(row)
    return result


def extract(pattern: str, value: Any, name: str) -> dict[str, Any]:
    """By Python's own engine."""
    compiled = re.compile(pattern, re.ASCII)
    found = compiled.search(value) if isinstance(value, str) else None
    if compiled.groupindex:
        return {group: found[group] if found else None for group in compiled.groupindex}
    if found is None:
        return {name: None}
    return {name: [found[number + 1] for number in range(compiled.groups)] if compiled.groups else found[0]}


def text(value: Any) -> str:
    return json.dumps(value)

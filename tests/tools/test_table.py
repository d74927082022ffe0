"""Steps one after the other, since a table puts off what they do, against the oracle; the quick reader against the strict one."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.messages import strict_json
from headrace.messages.errors import BadMessage
from headrace.tools.pipeline.document import parsed
from headrace.tools.pipeline.plan import PRIMITIVES
from headrace.tools.pipeline.table import Table
from tests.tools import oracle
from tests.tools.helpers import steady
from tests.tools.test_primitives import CONDITIONS, VALUES, tables

FIELDS = ["a", "b", "c", "a.x", "#"]
STEPS = st.one_of(
    st.fixed_dictionaries({"step": st.just("table_filter"), "condition": CONDITIONS}),
    st.fixed_dictionaries(
        {"step": st.just("table_sort"), "field": st.sampled_from(FIELDS), "order": st.sampled_from(["asc", "desc"])}
    ),
    st.fixed_dictionaries({"step": st.just("top_k"), "k": st.integers(1, 12)}),
    st.fixed_dictionaries(
        {
            "step": st.just("table_select"),
            "fields": st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True),
        }
    ),
    st.fixed_dictionaries(
        {
            "step": st.just("groupby"),
            "by": st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True),
            "agg": st.just("count"),
        }
    ),
)


def plainly(rows: oracle.Rows, step: dict[str, Any]) -> oracle.Rows:
    """A step as the oracle does it, to rows in which each path is a field of its own."""
    flat = [{path: oracle.value(row, path) for path in FIELDS} | {"*": row} for row in rows]
    match step["step"]:
        case "table_filter":
            return [row["*"] for row in flat if oracle.holds(row, step["condition"])]
        case "table_sort":
            return [row["*"] for row in oracle.sort(flat, step["field"], step.get("order", "asc"))]
        case "top_k":
            return rows[: step["k"]]
        case "table_select":
            return [{field: row[field] for field in step["fields"]} for row in flat]
        case _:
            return oracle.group(flat, step["by"], "count", None)


LONG_WAY: list[dict[str, Any]] = [
    {"step": "table_filter", "condition": {"field": "#", "op": ">", "value": 0}},
    {"step": "table_sort", "field": "a", "order": "desc"},
    {"step": "table_sort", "field": "b"},
    {"step": "table_select", "fields": ["b", "a"]},
    {"step": "groupby", "by": ["a", "b"], "agg": "count"},
]


@steady
@example([{"a": n % 3, "b": n % 2, "#": n} for n in range(8)], LONG_WAY)
@given(tables(VALUES), st.lists(STEPS, min_size=2, max_size=6))
def test_steps_one_after_the_other(rows: oracle.Rows, steps: list[dict[str, Any]]) -> None:
    before = oracle.text(rows)
    table = Table(rows)
    for step in steps:
        table = PRIMITIVES[step["step"]].make(step)(table)
    made = oracle.text(table.rows())
    assert made == oracle.text(reduce(plainly, steps, rows))
    assert len(table) == len(table.rows())
    assert oracle.text(rows) == before


AROUND: list[Callable[[Any], Any]] = [
    lambda deep: deep,
    lambda deep: [deep],
    lambda deep: [{}, {"a": "]}[{"}, {"a": deep}],
    lambda deep: {"items": [{}, deep]},
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("inner", [lambda value: [value], lambda value: {"a": value}])
def test_a_document_is_as_deep_as_the_strict_reader_takes_it(
    around: Callable[[Any], Any], inner: Callable[[Any], Any]
) -> None:
    value: Any = 1
    verdicts = []
    for _ in range(strict_json.MAX_DEPTH + 2):
        value = inner(value)
        data = orjson.dumps(around(value))
        verdicts.append(takes(strict_json.loads, data))
        assert takes(parsed, data) == verdicts[-1]
    assert set(verdicts) == {True, False}


def takes(reader: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        reader(data)
    except BadMessage:
        return False
    return True

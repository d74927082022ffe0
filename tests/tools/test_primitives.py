"""Sort, filter, select, top_k and groupby against the plain oracle, and their rules by example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tools.pipeline.filter import MAX_DEPTH, table_filter
from headrace.tools.pipeline.groupby import groupby
from headrace.tools.pipeline.rows import StepError, identity, lookup, rows_of
from headrace.tools.pipeline.select import table_select, top_k
from headrace.tools.pipeline.sort import table_sort
from tests.tools import oracle
from tests.tools.helpers import steady, through

NUMBERS = st.integers(-3, 3) | st.sampled_from([0.0, -1.5, 2.0, 0.1, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "b", "ab", "é", "1"])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    rows = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
    return st.lists(rows, max_size=12).map(lambda table: [row | {"#": index} for index, row in enumerate(table)])


COMPARISONS = st.fixed_dictionaries(
    {
        "field": st.sampled_from("abc"),
        "op": st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "contains"]),
        "value": VALUES,
    }
) | st.fixed_dictionaries({"field": st.sampled_from("abc"), "op": st.just("in"), "value": st.lists(VALUES, max_size=3)})
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"any": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=6,
)


@steady
@given(tables(VALUES), st.sampled_from("abcd"), st.sampled_from(["asc", "desc"]))
def test_sort(table: list[dict[str, Any]], field: str, order: str) -> None:
    before = oracle.text(table)
    assert oracle.text(through(table_sort({"field": field, "order": order}), table)) == oracle.text(
        oracle.sort(table, field, order)
    )
    assert oracle.text(table) == before


@steady
@given(tables(VALUES), CONDITIONS)
def test_filter(table: list[dict[str, Any]], condition: dict[str, Any]) -> None:
    expected = [row for row in table if oracle.holds(row, condition)]
    assert oracle.text(through(table_filter({"condition": condition}), table)) == oracle.text(expected)


@steady
@given(
    tables(SCALARS | st.lists(SCALARS, max_size=2)).map(
        lambda rows: [r | {"n": len(str(r)) / 4 if r["#"] % 3 else None} for r in rows]
    ),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True),
    st.sampled_from(["count", "sum", "avg", "min", "max"]),
)
def test_groupby(table: list[dict[str, Any]], by: list[str], agg: str) -> None:
    made = through(groupby({"by": by, "agg": agg, "field": "n"}), table)
    assert oracle.text(made) == oracle.text(oracle.group(table, by, agg, "n"))


@steady
@given(tables(VALUES), st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True))
def test_groupby_counts_every_row_once(table: list[dict[str, Any]], by: list[str]) -> None:
    made = through(groupby({"by": by, "agg": "count"}), table)
    assert oracle.text(made) == oracle.text(oracle.group(table, by, "count", None))
    assert sum(row["count"] for row in made) == len(table)


@steady
@given(
    st.lists(st.integers(-(2**40), 2**40) | st.floats(-1e12, 1e12), max_size=20),
    st.sampled_from(["sum", "avg", "min", "max"]),
)
def test_aggregates_of_numbers(values: list[float], agg: str) -> None:
    (row,) = through(groupby({"by": [], "agg": agg, "field": "n"}), [{"n": value} for value in values])
    assert row == {agg: oracle.aggregate([{"n": value} for value in values], agg, "n")}


@steady
@given(tables(VALUES), st.integers(1, 15))
def test_top_k(table: list[dict[str, Any]], k: int) -> None:
    assert through(top_k({"k": k}), table) == [row for index, row in enumerate(table) if index < k]


@steady
@given(VALUES, VALUES)
def test_identity_is_json_equality(a: Any, b: Any) -> None:
    assert (identity(a) == identity(b)) == oracle.same(a, b)


def test_sort_puts_types_apart_and_nulls_last() -> None:
    rows = [{"v": v} for v in [None, "b", True, 2, "a", 1.5, [1], False]] + [{}]
    assert [row.get("v") for row in through(table_sort({"field": "v"}), rows)] == [
        1.5,
        2,
        "a",
        "b",
        False,
        True,
        [1],
        None,
        None,
    ]
    assert [row.get("v") for row in through(table_sort({"field": "v", "order": "desc"}), rows)] == [
        2,
        1.5,
        "b",
        "a",
        True,
        False,
        [1],
        None,
        None,
    ]


def test_sort_is_stable_both_ways() -> None:
    rows = [{"v": 1, "n": n} for n in range(5)]
    assert (
        through(table_sort({"field": "v"}), rows) == through(table_sort({"field": "v", "order": "desc"}), rows) == rows
    )


def test_fields_are_keys_first_and_paths_second() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c": [10, {"d": 3}]}, "x": "text"}
    found = [
        lookup(row, path) for path in ("a.b", "a.c.1.d", "a.c.0", "a.c.9", "a.c.x", "a.z", "x.y", "nope", "a.c.-1", "")
    ]
    assert found == [1, 3, 10, None, None, None, None, None, None, None]


def test_select_names_fields_as_asked() -> None:
    rows = [{"id": 1, "user": {"login": "ann"}}, {"id": 2}]
    assert through(table_select({"fields": ["id", "user.login"]}), rows) == [
        {"id": 1, "user.login": "ann"},
        {"id": 2, "user.login": None},
    ]


def test_true_is_not_one() -> None:
    rows = [{"v": True}, {"v": 1}, {"v": "1"}]
    assert through(table_filter({"condition": {"field": "v", "op": "==", "value": 1}}), rows) == [{"v": 1}]
    assert [row["count"] for row in through(groupby({"by": ["v"], "agg": "count"}), rows)] == [1, 1, 1]


def test_the_example_of_the_protocol() -> None:
    rows = [{"category": "a", "revenue": 1}, {"category": "b", "revenue": 5}, {"category": "a", "revenue": 2}]
    assert through(groupby({"by": ["category"], "agg": "sum", "field": "revenue"}), rows) == [
        {"category": "a", "sum": 3},
        {"category": "b", "sum": 5},
    ]


def test_an_empty_table_is_one_empty_group_of_nothing() -> None:
    assert through(groupby({"by": [], "agg": "count"}), []) == [{"count": 0}]
    assert through(groupby({"by": [], "agg": "avg", "field": "x"}), []) == [{"avg": None}]
    assert through(groupby({"by": ["a"], "agg": "count"}), []) == []


@pytest.mark.parametrize(
    ("agg", "values"),
    [
        ("sum", [1, "2"]),
        ("avg", [True]),
        ("min", [1, "a"]),
        ("max", [[1]]),
        ("sum", [2**63, 2**63]),
        ("sum", [1e308, 1e308]),
    ],
)
def test_an_aggregate_never_guesses(agg: str, values: list[Any]) -> None:
    with pytest.raises(StepError):
        through(groupby({"by": [], "agg": agg, "field": "v"}), [{"v": value} for value in values])


@pytest.mark.parametrize("arguments", [{"by": ["a"], "agg": "sum"}, {"by": ["count"], "agg": "count"}])
def test_groupby_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(StepError) as caught:
        groupby(arguments)
    assert caught.value.type == "invalid_arguments"


LONG = "x" * 257


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (table_sort, {"field": LONG}),
        (table_select, {"fields": [LONG]}),
        (table_select, {"fields": ["a"] * 51}),
        (groupby, {"by": [LONG], "agg": "count"}),
        (groupby, {"by": [], "agg": "max", "field": LONG}),
        (table_filter, {"condition": {"field": LONG, "op": "==", "value": 1}}),
    ],
)
def test_the_work_of_a_step_is_bounded(make: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="at most"):
        make(arguments)


def nested(depth: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"field": "a", "op": "==", "value": 1}
    for _ in range(depth):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        ({}, "condition must be"),
        ({"field": "a", "op": "=", "value": 1}, "condition.op must be one of == != <"),
        ({"field": "a", "op": ["=="], "value": 1}, "condition.op"),
        ({"field": 1, "op": "==", "value": 1}, "condition.field"),
        ({"field": "a", "op": "=="}, "condition must be"),
        ({"field": "a", "op": "in", "value": 1}, "condition.value"),
        ({"all": {"field": "a"}}, "condition.all must be a list"),
        ({"any": [{"not": 1}]}, "condition.any[0].not must be an object"),
        ({"all": [], "any": []}, "condition must be"),
        (nested(MAX_DEPTH), "nests at most"),
        ({"any": [{"field": "a", "op": "==", "value": 1}] * 300}, "parts"),
    ],
)
def test_a_bad_condition_is_named(condition: dict[str, Any], where: str) -> None:
    with pytest.raises(StepError) as caught:
        table_filter({"condition": condition})
    assert where in str(caught.value)
    assert caught.value.type == "invalid_arguments"


def test_the_deepest_condition_is_accepted() -> None:
    assert through(table_filter({"condition": nested(MAX_DEPTH - 1)}), [{"a": 1}]) == []


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ([{"a": 1}, 2, None], [{"a": 1}, {"value": 2}, {"value": None}]),
        ({"items": [{"a": 1}], "total": 1}, [{"a": 1}]),
        ({"a": [1], "b": [2]}, [{"a": [1], "b": [2]}]),
        ({"a": 1}, [{"a": 1}]),
        ({}, [{}]),
        ("x", [{"value": "x"}]),
        (None, []),
        ([], []),
    ],
)
def test_documents_as_rows(document: Any, rows: list[Any]) -> None:
    assert rows_of(document, 10) == rows


def test_too_many_rows_are_refused_not_cut() -> None:
    with pytest.raises(StepError) as caught:
        rows_of([1, 2, 3], 2)
    assert caught.value.type == "too_large"

"""Previews are small, valid JSON and recognisable."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.blobs.preview import preview, sample
from tests.tools.helpers import steady

TEXTS = st.builds(str.__mul__, st.sampled_from(["x", "é", '"', "\n"]), st.integers(0, 400))
SMALL = TEXTS | st.lists(st.integers(0, 9), max_size=30) | st.dictionaries(TEXTS, st.booleans(), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(TEXTS, inner, max_size=12),
    max_leaves=30,
)


@steady
@given(JSON, st.integers(64, 2_000))
def test_a_preview_keeps_to_its_size(value: Any, size: int) -> None:
    assert len(orjson.dumps(preview(value, size))) <= size


@steady
@given(st.lists(st.dictionaries(TEXTS, SMALL, max_size=3), max_size=7), st.integers(64, 2_000))
def test_a_sample_keeps_to_its_size(rows: list[dict[str, Any]], size: int) -> None:
    made = sample(rows, 5, size)
    assert len(orjson.dumps(made)) <= size
    assert len(made) <= 5


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ({"a": 1}, 100, {"a": 1}),
        ("x" * 300, 500, "x" * 200 + "..."),
        (list(range(100)), 100, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "... 90 more"]),
        ({"a": {"b": {"c": [1, 2]}, "d": "x"}}, 25, {"a": "... object of 2"}),
        ({"a": 1} | {f"k{n}": n for n in range(99)}, 120, {"a": 1, **{f"k{n}": n for n in range(9)}, "...": "90 more"}),
        ("x" * 500, 10, "... text of 500 characters"),
    ],
)
def test_previews_by_example(value: Any, size: int, expected: Any) -> None:
    assert preview(value, size) == expected

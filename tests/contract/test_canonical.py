"""Canonical JSON: the bytes that stored hashes depend on, and one form wherever something is named by them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages import ids
from headrace.messages.canonical import canonical_json
from headrace.reasoning.entries import canonical
from headrace.toolbox.canonical import canonical as canonical_steps
from headrace.toolbox.canonical import digest_of
from headrace.toolbox.naming import name_of

KEYS = st.text(max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def test_the_bytes_are_pinned() -> None:
    value = {"é": 1.0, "b": [None, True, "\u2028/"], "a": {"z": 1e300, "Z": -0.5}}
    assert canonical_json(value) == '{"a":{"Z":-0.5,"z":1e+300},"b":[null,true,"\u2028/"],"é":1.0}'.encode()


@given(VALUES)
def test_one_value_has_one_text(value: object) -> None:
    turned = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert canonical_json(turned) == canonical_json(value)
    assert canonical(value).encode() == canonical_json(value), "as models and records have it"


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical_json({1: 2})


def test_a_session_names_a_pipeline_by_the_digest_that_its_composite_tool_is_named_by() -> None:
    pipeline = [{"step": "top_k", "k": 3}, {"step": "table_sort", "order": "asc", "field": "é"}]
    digest = digest_of(canonical_steps(pipeline))
    in_session = f"pipeline_{ids.short_hash(canonical_json(pipeline))}"
    assert in_session == f"pipeline_{digest.hex()[:16]}"
    assert name_of(pipeline, digest).rpartition("_")[2] == in_session.removeprefix("pipeline_")[:12]

"""The fast JSON check gives the strict reader's verdict on everything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages import strict_json
from headrace.messages.errors import UndecodableMessage
from headrace.messages.json_check import check

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(['":', '" :', '\\":', "{", "[", "\u0000", "\ud800"]),
)
_KEYS = st.sampled_from(["a", "b", '":', 'a"', "\u00e9"])


class _Pairs(dict[str, Any]):
    """An object whose keys may repeat, for ``json.dumps``."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__({"": None} if pairs else {})
        self._pairs = pairs

    def items(self) -> Any:
        return self._pairs


_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.lists(st.tuples(_KEYS, inner), max_size=4).map(_Pairs)),
    max_leaves=12,
)
_SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (",\n", " : "), (",", "\t:")])


def verdict(read: Any, data: bytes) -> Any:
    try:
        return read(data)
    except UndecodableMessage as error:
        return error.cause, error.where


@given(_VALUES, _SEPARATORS, st.booleans())
def test_verdicts_agree(value: Any, separators: tuple[str, str], ascii_only: bool) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    data = text.encode("utf-8", "surrogatepass")
    assert verdict(check, data) == verdict(strict_json.loads, data)


@given(st.binary(max_size=40))
def test_verdicts_agree_on_noise(data: bytes) -> None:
    assert verdict(check, data) == verdict(strict_json.loads, data)


@pytest.mark.parametrize("depth", [63, 64, 65, 66])
@pytest.mark.parametrize("inner", [b"", b"1", b"1.5", b"{}"])
def test_the_depth_limit_is_the_same(depth: int, inner: bytes) -> None:
    data = b"[" * depth + inner + b"]" * depth
    assert verdict(check, data) == verdict(strict_json.loads, data)


@pytest.mark.parametrize(
    "number", ["9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"]
)
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("suffix", ["", ".0", "e0", "e300"])
def test_the_number_limit_is_the_same(number: str, sign: str, suffix: str) -> None:
    data = f'{{"n":[{sign}{number}{suffix}]}}'.encode()
    assert verdict(check, data) == verdict(strict_json.loads, data)

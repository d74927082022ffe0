"""NUL on its way into jsonb."""

from __future__ import annotations

import asyncpg
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.postgres.json import Document, has_nul, storable, storable_text

texts = st.text(alphabet=st.sampled_from(["\x00", "\\", '"', "u", "0", "a", "\u2400", "\n", "\x01"]))
documents = st.recursive(
    texts | st.integers(-(2**53), 2**53), lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8
)


def without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "\u2400")
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(key): without_nul(item) for key, item in value.items()}
    return value


def holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, list):
        return any(map(holds_nul, value))
    return isinstance(value, dict) and (any(map(holds_nul, value)) or any(map(holds_nul, value.values())))


@given(documents)
def test_only_nul_is_replaced(value: object) -> None:
    data = orjson.dumps(value)
    assert orjson.loads(storable(data)) == without_nul(value)
    assert has_nul(data) == holds_nul(value)


@pytest.mark.parametrize("value", [{"a\x00": "\x00b\\u0000"}, "\x00", ["\\", "\\\x00"], None, 1.5, [{"x": True}]])
async def test_postgres_takes_it(pool: asyncpg.Pool, value: object) -> None:
    assert await pool.fetchval("SELECT $1::jsonb", Document(orjson.dumps(value))) == without_nul(value)
    if value is not None:
        assert await pool.fetchval("SELECT $1::jsonb", value) == without_nul(value)


async def test_postgres_takes_text(pool: asyncpg.Pool) -> None:
    assert await pool.fetchval("SELECT $1::text", storable_text("a\x00b")) == "a\u2400b"

"""Which keys a canary gets: about as many as it says, always the same ones, and never fewer when it grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages.agent import AgentDefinition, AgentRecord, Canary
from headrace.registry.canary import gets, place_of
from headrace.registry.catalog import Catalog, catalog_of
from tests.registry.test_catalog import definition

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
KEYS = [f"acme/repository-{number}" for number in range(4_000)]


def with_canary(percent: float = 30.0) -> Catalog:
    catalog = catalog_of([definition("b"), definition("a", "2.0.0"), definition("a", "1.0.0")])
    pointer = AgentRecord(name="a", live_version="1.0.0", canary=Canary(version="2.0.0", percent=percent))
    catalog.apply("a", pointer)
    return catalog


def test_a_key_has_the_place_that_it_always_had() -> None:
    assert place_of("pr-reviewer", "2.0.0", "acme/shop") == 0.5751589960665909
    assert place_of("pr-reviewer", "2.0.0", "\udcff") == pytest.approx(0.0, abs=1.0), "any text has one"


@given(NAMES, NAMES, st.floats(1, 99))
def test_a_canary_gets_about_its_share_of_the_keys(agent: str, version: str, percent: float) -> None:
    got = sum(gets(agent, version, percent, key) for key in KEYS) / len(KEYS)
    spread = (percent / 100 * (1 - percent / 100) / len(KEYS)) ** 0.5
    assert abs(got - percent / 100) < 6 * spread  # one in 500 million


@given(st.floats(0.01, 99.99), st.floats(0.01, 99.99))
def test_a_canary_that_grows_takes_no_key_back(one: float, other: float) -> None:
    smaller, larger = (
        {key for key in KEYS[:500] if gets("a", "2.0.0", percent, key)} for percent in sorted((one, other))
    )
    assert smaller <= larger


def test_another_version_s_canary_falls_on_other_keys() -> None:
    first, second = ({key for key in KEYS if gets("a", version, 10, key)} for version in ("2.0.0", "2.1.0"))
    assert len(first & second) < len(first) / 4


@given(st.text(max_size=40))
def test_the_catalogue_gives_a_key_its_version_and_nothing_else_changes(key: str) -> None:
    catalog = with_canary()
    chosen = definition("a", "2.0.0" if gets("a", "2.0.0", 30.0, key) else "1.0.0")
    assert catalog.live("a", key) == chosen
    assert catalog.all_live(key) == [chosen, definition("b")]
    assert catalog.live("a") == definition("a", "1.0.0")
    assert catalog.all_live() == [definition("a", "1.0.0"), definition("b")]


def test_a_canary_whose_definition_is_gone_gets_no_key() -> None:
    catalog = with_canary(99.0)
    assert len(versions(catalog)) == 2
    catalog.apply("a@2.0.0", None)
    assert versions(catalog) == {"1.0.0"}
    catalog.apply("a", None)
    assert catalog.live("a", "k") is None


def versions(catalog: Catalog) -> set[str]:
    found: list[AgentDefinition | None] = [catalog.live("a", key) for key in KEYS]
    return {one.version for one in found if one}

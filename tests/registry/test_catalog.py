"""The catalogue: whatever order records come in, live is what the newest pointer says."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.registry.catalog import Catalog, catalog_of, records_of
from headrace.registry.semver import precedence


def definition(name: str, version: str = "1.0.0") -> AgentDefinition:
    return AgentDefinition(name=name, version=version, category="c", description="d", system_prompt="p")


def published(name: str, version: str = "1.0.0") -> tuple[AgentRecord, AgentRecord]:
    return records_of(definition(name, version))


def test_a_published_agent_is_live() -> None:
    catalog = catalog_of([definition("b"), definition("a")])
    assert catalog.live("a") == definition("a")
    assert [agent.name for agent in catalog.all_live()] == ["a", "b"]
    assert catalog.live("c") is None
    assert catalog.names() == ["a", "b"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_definitions_and_pointer_does_not_matter(order: tuple[int, ...]) -> None:
    records = [
        AgentRecord(name="a", definition=definition("a", "1.0.0")),
        AgentRecord(name="a", definition=definition("a", "1.1.0")),
        AgentRecord(name="a", live_version="1.1.0"),
    ]
    catalog = Catalog()
    for index in order:
        catalog.apply(records[index].record_key(), records[index])
    assert catalog.live("a") == definition("a", "1.1.0")
    assert catalog.get("a", "1.0.0") == definition("a", "1.0.0")
    assert catalog.versions("a") == ["1.0.0", "1.1.0"]


def test_a_definition_without_a_pointer_is_not_live() -> None:
    catalog = Catalog()
    record, pointer = published("a")
    catalog.apply("a@1.0.0", record)
    assert catalog.live("a") is None
    assert catalog.all_live() == []
    catalog.apply("a", pointer)
    assert catalog.live("a") is not None


def test_tombstones_take_away() -> None:
    catalog = catalog_of([definition("a")])
    catalog.apply("a", None)
    assert catalog.live("a") is None
    assert catalog.get("a", "1.0.0") is not None
    catalog.apply("a@1.0.0", None)
    assert catalog.get("a", "1.0.0") is None
    assert catalog.versions("a") == []
    catalog.apply("never@1.0.0", None)
    catalog.apply("never", None)


def test_a_pointer_can_go_back() -> None:
    catalog = catalog_of([definition("a", "1.0.0"), definition("a", "2.0.0")])
    assert catalog.live("a") == definition("a", "2.0.0")
    catalog.apply("a", AgentRecord(name="a", live_version="1.0.0"))
    assert catalog.live("a") == definition("a", "1.0.0")


def test_a_view_that_was_handed_out_does_not_change() -> None:
    catalog = catalog_of([definition("a")])
    view = catalog.all_live()
    catalog.apply("a", None)
    assert [agent.name for agent in view] == ["a"]


def test_versions_are_in_semver_order() -> None:
    versions = ["1.10.0", "1.9.0", "2.0.0", "2.0.0-rc.2", "2.0.0-rc.10", "2.0.0-alpha", "2.0.0-1"]
    catalog = catalog_of([definition("a", version) for version in versions])
    assert catalog.versions("a") == ["1.9.0", "1.10.0", "2.0.0-1", "2.0.0-alpha", "2.0.0-rc.2", "2.0.0-rc.10", "2.0.0"]


NUMBERS = st.tuples(*[st.integers(0, 12)] * 3)


@given(NUMBERS, NUMBERS)
def test_precedence_of_releases_is_that_of_their_numbers(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    one, other = (".".join(map(str, numbers)) for numbers in (first, second))
    assert (precedence(one) < precedence(other)) == (first < second)
    assert precedence(f"{one}-rc.1") < precedence(one)

"""Ordered stages in the engine: one lane a partition, and a state that is committed with the offset it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages.errors import FatalError
from headrace.runtime import foldstate
from headrace.runtime.engine import Bounds, Engine, Item, Plan
from headrace.runtime.offsetmap import CorruptOffsetMap


@dataclass(frozen=True)
class Record:
    offset: int
    topic: str = "t"
    partition: int = 0
    key: bytes | None = None
    size: int = 10


def engine(committed: int = 0, metadata: str | None = None, **bounds: int) -> Engine[str]:
    made: Engine[str] = Engine(Bounds(**bounds), ordered=True)
    made.assign("t", 0, committed, metadata, object())
    return made


def step(made: Engine[str]) -> Item[str] | None:
    """Fold the next record, if one may start: the state is the list of all offsets so far."""
    started = list(made.startable())
    assert len(started) <= 1, "two of a partition are in flight"
    for item in started:
        assert item.state == item.tenancy.state
        item.state = f"{item.state or ''},{item.record.offset}"
        made.finish(item, [item.state])
        return item
    return None


def commit(plan: Plan[str] | None) -> tuple[int, str | None]:
    assert plan is not None
    ((_, offset, metadata),) = plan.offsets.values()
    return offset, foldstate.decode(metadata)[0]


def test_a_partition_is_one_lane_and_its_state_goes_along() -> None:
    made = engine()
    made.offer([Record(0, key=b"a"), Record(2, key=b"b"), Record(3)])
    assert [item.state for _ in range(3) if (item := step(made))] == [",0", ",0,2", ",0,2,3"]
    assert commit(made.plan()) == (4, ",0,2,3")


def test_a_transaction_commits_the_state_after_its_own_last_record() -> None:
    made = engine(max_plan_records=2)
    made.offer([Record(0), Record(1), Record(2)])
    while step(made):
        pass
    assert commit(made.plan()) == (2, ",0,1")
    assert commit(made.settle(committed=False)) == (2, ",0,1")
    made.settle(committed=True)
    assert commit(made.plan()) == (3, ",0,1,2")


def test_a_new_owner_goes_on_from_what_was_committed_and_not_from_what_was_done() -> None:
    made = engine()
    made.offer([Record(0), Record(1)])
    step(made)
    offset, state = commit(made.plan())
    step(made)  # done, and never committed
    assert state is not None
    other = engine(offset, foldstate.encode(state))
    other.offer([Record(1)])
    item = step(other)
    assert item is not None
    assert item.state == ",0,1"


def test_the_same_engine_that_gets_a_partition_back_forgets_its_own_state() -> None:
    made = engine()
    made.offer([Record(0), Record(1)])
    step(made)
    made.assign("t", 0, 0, "", object())
    made.offer([Record(0)])
    item = step(made)
    assert item is not None
    assert item.state == ",0"


def test_a_record_that_leaves_no_state_leaves_the_one_before_it() -> None:
    made = engine()
    made.offer([Record(0), Record(1), Record(2)])
    step(made)
    (item,) = made.startable()
    made.finish(item, ["letter"])  # dead-lettered: nothing was folded
    step(made)
    assert commit(made.plan()) == (3, ",0,2")


@given(st.text(max_size=200))
def test_a_state_survives_a_commit(state: str) -> None:
    assert foldstate.decode(foldstate.encode(state)) == (state, "")


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=50), st.data())
def test_a_damaged_state_is_refused(state: str, data: st.DataObject) -> None:
    text = foldstate.encode(state)
    place = data.draw(st.integers(len(foldstate.TAG), len(text) - 1))
    damaged = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
    with pytest.raises(CorruptOffsetMap):
        foldstate.decode(damaged)


def test_a_state_that_no_commit_holds_is_refused() -> None:
    with pytest.raises(FatalError, match="does not fit"):
        foldstate.encode("x" * 3_000)


def test_an_offset_map_is_no_state() -> None:
    assert foldstate.decode("") == (None, "")
    assert foldstate.decode(None) == (None, "")
    assert foldstate.decode("hr1:AAAA") == (None, "hr1:AAAA")

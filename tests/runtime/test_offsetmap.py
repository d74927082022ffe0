"""The offset map and the tracker: round trips, bounds, damage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages.errors import FatalError
from headrace.runtime import offsetmap
from headrace.runtime.offsetmap import MAX_CHARS, MAX_LISTED, MAX_SPAN, CorruptOffsetMap, decode, encode
from headrace.runtime.tracker import Tracker


@given(st.integers(0, 2**50), st.lists(st.integers(0, 5_000), unique=True, max_size=400), st.integers(0, 5_000))
def test_what_is_encoded_is_decoded(base: int, relative: list[int], span: int) -> None:
    holes = sorted(base + r for r in relative if r < span)
    read = decode(base, encode(base, base + span, holes))
    assert (read.base, read.high, read.unfinished) == (base, base + span, frozenset(holes))


def test_the_stored_format_never_changes() -> None:
    assert encode(1000, 1010, [1000, 1003]) == "hr1:1_BuwgoAAAM"
    assert decode(1000, "hr1:1_BuwgoAAAM").unfinished == {1000, 1003}


def test_the_bounds_that_admit_records_are_sure_to_fit() -> None:
    rng = random.Random(3)
    dense = sorted(rng.sample(range(MAX_SPAN), MAX_SPAN // 2))
    assert len(encode(0, MAX_SPAN - 1, dense)) <= MAX_CHARS
    sparse = sorted(rng.sample(range(500_000_000), MAX_LISTED))
    assert len(encode(0, 500_000_001, sparse)) <= MAX_CHARS


@pytest.mark.parametrize(
    "text", ["x", "hr1:", "hr1:AAAA", "hr1:!!!!", "hr2:1_BuwgoAAAM", "hr1:1_BuwgoAAzz", "hr1:1_BuwgoAAA"]
)
def test_damaged_metadata_is_refused(text: str) -> None:
    with pytest.raises(CorruptOffsetMap):
        decode(1000, text)


def test_every_flipped_bit_is_noticed() -> None:
    text = encode(1000, 1400, list(range(1000, 1400, 3)))
    for index in range(len(offsetmap.TAG), len(text)):
        for other in "AZaz09-_":
            damaged = text[:index] + other + text[index + 1 :]
            if damaged != text:
                with pytest.raises(CorruptOffsetMap):
                    decode(1000, damaged)


@given(st.integers(0, 2**32), st.data())
def test_a_restart_finds_exactly_what_was_unfinished(seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    offsets = sorted(rng.sample(range(200), rng.randrange(1, 60)))
    tracker = Tracker(0)
    assert all(tracker.receive(offset) for offset in offsets)
    finished = set(data.draw(st.lists(st.sampled_from(offsets), unique=True)))
    for offset in sorted(finished, key=lambda _: rng.random()):
        tracker.finish(offset)
    again = Tracker(*tracker.commit_point())
    assert [offset for offset in offsets if again.receive(offset)] == [o for o in offsets if o not in finished]


def test_a_partly_re_read_map_keeps_the_rest() -> None:
    tracker = Tracker(0)
    for offset in range(10):
        tracker.receive(offset)
    for offset in (1, 2, 4, 5, 7, 9):
        tracker.finish(offset)
    second = Tracker(*tracker.commit_point())
    second.receive(0)
    second.receive(3)
    second.finish(0)
    third = Tracker(*second.commit_point())
    assert [offset for offset in range(10) if third.receive(offset)] == [3, 6, 8]


def test_finishing_twice_stops_the_processor() -> None:
    tracker = Tracker(0)
    tracker.receive(0)
    tracker.finish(0)
    with pytest.raises(FatalError):
        tracker.finish(0)


def test_a_straggler_lets_the_rest_pass_until_the_map_would_overflow() -> None:
    tracker = Tracker(0)
    tracker.receive(0)
    for offset in range(1, 100_000):
        tracker.receive(offset)
        assert tracker.may_start(offset)
        tracker.finish(offset)
    assert len(tracker.commit_point()[1]) < 40
    for offset in range(100_000, 100_001 + MAX_LISTED):
        tracker.receive(offset)
    assert not tracker.may_start(100_000 + MAX_LISTED)
    assert tracker.may_start(0)

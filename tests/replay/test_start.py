"""Where a rebuild starts: what is said, what it means, and what is refused by name."""

from __future__ import annotations

import pytest

from headrace.replay.start import (
    AtOffset,
    AtOffsets,
    AtTime,
    Earliest,
    Held,
    OutOfRange,
    Start,
    parse_offsets,
    parse_time,
    starting_points,
)

A, B = ("agent.jobs", 0), ("agent.jobs", 1)
HELD = {
    A: Held(first=10, end=20, committed=15, oldest_ms=1_000, at_ms=12),
    B: Held(first=0, end=0, committed=None),
}


@pytest.mark.parametrize(
    ("start", "points"),
    [
        (Earliest(), {A: 10, B: 0}),
        (AtTime(2_000), {A: 12, B: 0}),
        (AtTime(1_000), {A: 12, B: 0}),
        (AtOffsets({A: 10}), {A: 10, B: 0}),
        (AtOffsets({A: 20}), {A: 20, B: 0}),
        (AtOffsets({B: 0}), {A: 15, B: 0}),
    ],
)
def test_each_start_means_an_offset_in_every_partition(start: Start, points: dict[tuple[str, int], int]) -> None:
    assert starting_points(start, HELD, now_ms=9_000) == points


def test_a_time_after_the_last_record_is_its_end() -> None:
    assert starting_points(AtTime(5), {A: Held(first=0, end=20, oldest_ms=1)}, now_ms=9) == {A: 20}


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (AtOffset(5), "agent.jobs:0 has offsets 10 to 20, not 5; agent.jobs:1 has offsets 0 to 0, not 5"),
        (AtOffsets({A: 9}), "agent.jobs:0 has offsets 10 to 20, not 9"),
        (AtOffsets({A: 21}), "agent.jobs:0 has offsets 10 to 20, not 21"),
        (AtOffsets({("ingest.raw", 0): 1}), "the group reads no ingest.raw:0; its topics: agent.jobs"),
        (AtOffsets({("agent.jobs", 7): 1}), "the group reads no agent.jobs:7"),
        (AtTime(999), "may be deleted already in agent.jobs:0"),
        (AtTime(10_000), "in the future"),
    ],
)
def test_what_the_topics_do_not_hold_is_refused_by_name(start: Start, text: str) -> None:
    with pytest.raises(OutOfRange, match=text):
        starting_points(start, HELD, now_ms=9_000)


def test_a_group_that_retention_has_overtaken_is_refused_where_it_is_not_named() -> None:
    held = {A: Held(first=10, end=20, committed=3), B: Held(first=0, end=9)}
    with pytest.raises(OutOfRange, match=r"agent\.jobs:0 has offsets 10 to 20, not 3"):
        starting_points(AtOffsets({B: 4}), held, now_ms=0)


def test_times_and_offsets_are_read() -> None:
    assert parse_time("2026-11-01T08:00:00Z") == AtTime(1_793_520_000_000)
    assert (
        parse_time("2026-11-01T08:00:00") == parse_time("2026-11-01T10:00:00+02:00") == parse_time("2026-11-01T08:00Z")
    )
    assert parse_offsets(["17"]) == AtOffset(17)
    assert parse_offsets(["agent.jobs:0:5", "agent.jobs:1:0"]) == AtOffsets({A: 5, B: 0})


@pytest.mark.parametrize("text", ["yesterday", "", "1969-12-31T23:59:59Z", "2026-13-01"])
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(OutOfRange):
        parse_time(text)


@pytest.mark.parametrize(
    "texts", [["-1"], ["agent.jobs:0"], ["agent.jobs:0:-5"], ["a:0:1", "a:0:2"], ["1", "2"], ["9" * 19], ["²"]]
)
def test_no_offset_is_refused(texts: list[str]) -> None:
    with pytest.raises(OutOfRange):
        parse_offsets(texts)

"""Counting, without servers: exact under any crash, and only what is truly late is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics import book
from headrace.analytics.windows import Entry, Mark, Rules, State, Verdict, WindowKey, count
from headrace.messages.totals import Run, Totals, merged

RULES = Rules(size_ms=1_000, grace_ms=2_000)
FAR = 10**12
PART = "0/agent.results/0"


class MemoryTable:
    """The table as a dict; ``apply`` stands for the changelog, and may be cut short."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def items(self) -> Mapping[str, Any]:
        return self.values

    def apply(self, writes: book.Writes) -> None:
        self.values.update((key, value) for _, key, value in writes)


def entry(offset: int, at_ms: int, agent: str = "a") -> Entry:
    return Entry(offset, "default", agent, at_ms, Run(failed=offset % 3 == 0, input_tokens=offset))


def process(table: MemoryTable, entries: list[Entry], rules: Rules = RULES, *, now_ms: int = FAR) -> dict[Verdict, int]:
    change = count(entries, book.mark_of(table, PART), lambda key: book.state_of(table, PART, key), rules, now_ms)
    table.apply(book.writes_of(PART, change))
    return change.verdicts


def totals(table: MemoryTable) -> dict[WindowKey, Totals]:
    windows, _ = book.read(table)
    return {one.window: one.state.totals for one in windows}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from("ab"), st.integers(1, 3)), max_size=30),
    st.data(),
)
def test_a_crash_anywhere_counts_every_entry_once(steps: list[tuple[int, str, int]], data: st.DataObject) -> None:
    """Batches of any size; a crash keeps any prefix of a batch's writes, and reading goes on from any earlier commit."""
    offset, entries = -1, []
    for at_ms, agent, gap in steps:
        offset += gap  # transactions leave gaps
        entries.append(entry(offset, at_ms, agent))
    rules = Rules(size_ms=1_000, grace_ms=5_000)  # nothing is late
    table, committed, crashes = MemoryTable(), 0, 0
    while committed < len(entries):
        batch = entries[committed : committed + data.draw(st.integers(1, 6))]
        change = count(batch, book.mark_of(table, PART), lambda key: book.state_of(table, PART, key), rules, FAR)
        writes = book.writes_of(PART, change)
        if crashes < 5 and data.draw(st.booleans()):
            crashes += 1
            table.apply(writes[: data.draw(st.integers(0, len(writes)))])
            committed = data.draw(st.integers(0, committed))
        else:
            table.apply(writes)
            committed += len(batch)
    expected: dict[WindowKey, list[Totals]] = {}
    for one in entries:
        expected.setdefault(rules.window(one.tenant, one.agent, one.at_ms), []).append(Totals.of(one.run))
    assert totals(table) == {key: merged(parts) for key, parts in expected.items()}


def test_late_is_what_comes_after_its_window_was_forgotten() -> None:
    table = MemoryTable()
    assert process(table, [entry(0, 500), entry(1, 9_500)]) == {Verdict.COUNTED: 2}
    assert process(table, [entry(2, 600)]) == {Verdict.COUNTED: 1}, "its window is still there, so why lose it"
    first = next(one for one in book.read(table)[0] if one.window.start_ms == 0)
    table.values.pop(book.deletion(first)[1])
    assert process(table, [entry(3, 600)]) == {Verdict.LATE: 1}
    assert process(table, [entry(4, 7_600)]) == {Verdict.COUNTED: 1}, "out of order by less than the grace"
    assert process(table, [entry(1, 9_500), entry(3, 600)]) == {Verdict.REPEATED: 2}, "read again, late or not"


def test_a_wrong_clock_does_not_close_windows() -> None:
    table = MemoryTable()
    process(table, [entry(0, 60_000), entry(1, 90_000_000)], now_ms=60_500)
    assert book.mark_of(table, PART) == Mark(1, 60_500)
    assert process(table, [entry(2, 60_600)]) == {Verdict.COUNTED: 1}


def test_old_entries_are_as_good_as_new_ones() -> None:
    """Lateness is by the stream: a day of them, read a year later, is counted whole."""
    table = MemoryTable()
    verdicts = process(table, [entry(number, number * 1_000) for number in range(1_000)], now_ms=FAR)
    assert verdicts == {Verdict.COUNTED: 1_000}


def test_what_is_written_is_read_back() -> None:
    key = WindowKey("t|\x1f", "a", 60_000, 60)
    state = State(7, Totals.of(Run(failed=True, model="m", cost_usd=0.25, duration_ms=1_234)))
    table = MemoryTable()
    change = count([entry(0, 60_001)], Mark(), lambda _: None, RULES, FAR)
    change.states[key] = state
    table.apply(book.writes_of("3/agent.results/1", change))
    assert book.state_of(table, "3/agent.results/1", key) == state
    assert {partition for partition, _, _ in book.writes_of("3/agent.results/1", change)} == {3}

"""Two runs side by side: what each was given, decided and paid, aligned by step. Pure.

Compared is what was said and done: ids, times and usage differ between any two runs and are no difference. Who ran (version,
definition, model) is told, and is no difference either: it is why one compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile, zip_longest
from typing import NamedTuple

from headrace.history.chain import Chain
from headrace.history.differences import Difference, differences
from headrace.history.telling import Entry, Side, told
from headrace.messages.lineage import ForkedFrom
from headrace.messages.result import AgentResult
from headrace.messages.run import Usage


class Row(NamedTuple):
    """One record of each run (None: that run has ended before). ``kind``: job, tool_calls, tool_results or result.

    ``shared``: it is one record, since one run is a fork of the other, or both are of a third.
    """

    step: int
    kind: str
    left: Side | None
    right: Side | None
    difference: Difference | None

    @property
    def shared(self) -> bool:
        return self.left is not None and self.right is not None and self.left.place == self.right.place


class Who(NamedTuple):
    """Which agent ran, on which model, and what its own model calls used: a fork has not paid for what it took."""

    agent: str
    definition_hash: str
    model: str
    usage: Usage
    forked_from: ForkedFrom | None


class Alignment(NamedTuple):
    """``first`` is the first row that differs."""

    rows: tuple[Row, ...]
    first: Row | None
    left: Who
    right: Who

    @property
    def shared(self) -> int:
        """How many rows, from the first on, are the same records on both sides."""
        return sum(1 for _ in takewhile(lambda row: row.shared, self.rows))


def align(left: Sequence[Chain], right: Sequence[Chain]) -> Alignment:
    """The records of two runs in the order of the flow. Each side is a run and, of a fork, the run that it left, and so on.

    A fork whose origin is not given is compared from its first step on.
    """
    rows = tuple(_rows(told(left), told(right)))
    first = next((row for row in rows if row.difference), None)
    return Alignment(rows, first, _who(left[0]), _who(right[0]))


def _rows(left: list[Entry], right: list[Entry]) -> Iterator[Row]:
    begin = max((entries[0].order for entries in (left, right) if entries), default=(0, 0))
    sides = [[entry for entry in entries if entry.order >= begin] for entries in (left, right)]
    for one, other in zip_longest(*sides):
        a, b = one and one.side, other and other.side
        found = next(differences(a.content if a else "(ended)", b.content if b else "(ended)"), None)
        either = one or other
        yield Row(either.step, either.kind, a, b, found)


def _who(chain: Chain) -> Who:
    last = chain.stretches[-1].output
    usage = Usage.of(turn for stretch in chain.stretches for turn in stretch.output.turns)
    if isinstance(last, AgentResult):
        agent, model = f"{last.agent_name}@{last.agent_version}", last.metadata.llm_model
        return Who(agent, last.definition_hash, model, usage, chain.forked_from)
    named = last.run.agent
    return Who(f"{named.name}@{named.version}", named.definition_hash, last.run.model, usage, chain.forked_from)

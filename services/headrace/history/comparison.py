"""Two stored runs compared, with the runs that they were forked from and with those of their sub-agents.

A sub-agent's run is found by the id that its call gives it, so both sides' runs of one call stand beside each other, however deep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from headrace.history.alignment import Alignment, align
from headrace.history.chain import BrokenChain, Chain
from headrace.history.stored import History
from headrace.history.telling import told
from headrace.messages.run import Usage

Elsewhere = Callable[[str], Awaitable[Chain]]


class UnknownRun(BrokenChain):
    """Nobody has heard of the run."""


class Child(NamedTuple):
    """The runs of the sub-agent that one call asked for. ``compared`` None: one side has none, or its records are gone.

    ``usage``: of both sides, with their own sub-agents.
    """

    step: int
    call_id: str
    left: str | None
    right: str | None
    compared: Compared | None
    usage: tuple[Usage, Usage]


class Compared(NamedTuple):
    """``left`` and ``right`` are run ids. Runs that both sides share are not among ``children``."""

    left: str
    right: str
    aligned: Alignment
    children: tuple[Child, ...]

    @property
    def same(self) -> bool:
        """Whether they, and their sub-agents, say and do the same."""
        return self.aligned.first is None and all(one.compared is None or one.compared.same for one in self.children)

    @property
    def usage(self) -> tuple[Usage, Usage]:
        """Of both sides with their sub-agents' runs, those that both sides share left out."""
        left, right = self.aligned.left.usage, self.aligned.right.usage
        for child in self.children:
            left, right = left.plus(child.usage[0]), right.plus(child.usage[1])
        return left, right


async def compare(history: History, left: str, right: str, elsewhere: Elsewhere | None = None) -> Compared:
    """``elsewhere`` has the runs that the index does not. Raises ``UnknownRun`` for one that is not there, and ``BrokenChain``
    for one whose records are gone or say nothing yet; both name it.
    """
    sides = [await _lineage(history, run, elsewhere) for run in (left, right)]
    return await _compared(history, left, right, *sides)


async def _compared(history: History, left: str, right: str, one: list[Chain], other: list[Chain]) -> Compared:
    aligned = await asyncio.to_thread(align, one, other)
    children = [await _child(history, *pair) for pair in _pairs(aligned)]
    return Compared(left, right, aligned, tuple(child for child in children if child.left or child.right))


def _pairs(aligned: Alignment) -> Iterator[tuple[int, str, str | None, str | None]]:
    for row in aligned.rows:
        left = row.left.children if row.left else {}
        right = row.right.children if row.right else {}
        for call_id in {**left, **right}:
            pair = left.get(call_id), right.get(call_id)
            if pair[0] != pair[1]:
                yield row.step, call_id, *pair


async def _child(history: History, step: int, call_id: str, left: str | None, right: str | None) -> Child:
    one, other = [await _stored(history, run) if run else None for run in (left, right)]
    if left and right and one and other:
        compared = await _compared(history, left, right, [one], [other])
        return Child(step, call_id, left, right, compared, compared.usage)
    usage = await _usage(history, one), await _usage(history, other)
    return Child(step, call_id, left if one else None, right if other else None, None, usage)


async def _usage(history: History, chain: Chain | None) -> Usage:
    """Of a run and all that were delegated from it."""
    if chain is None:
        return Usage()
    entries = told([chain])
    used = Usage.of(turn for stretch in chain.stretches for turn in stretch.output.turns)
    for run in [run for entry in entries for run in entry.side.children.values()]:
        used = used.plus(await _usage(history, await _stored(history, run)))
    return used


async def _stored(history: History, run: str) -> Chain | None:
    page = await history.page_of([run])
    return page.chains[0] if page.chains else None


async def _lineage(history: History, run: str, elsewhere: Elsewhere | None) -> list[Chain]:
    """The run, the one that it was forked from, and so on as far as records are there."""
    try:
        chains = [await _chain(history, run, elsewhere)]
    except BrokenChain as error:
        raise type(error)(f"run {run}: {error}") from None
    while (origin := chains[-1].forked_from) and (chain := await _stored(history, origin.run_id)):
        chains.append(chain)
    return chains


async def _chain(history: History, run: str, elsewhere: Elsewhere | None) -> Chain:
    if not await history.knows(run):
        if elsewhere is None:
            raise UnknownRun("no such run")
        return await elsewhere(run)
    page = await history.page_of([run])
    if broken := page.broken.get(run):
        raise BrokenChain(broken)
    return page.chains[0]

"""Runs chosen by what the index says of them, for work on many: all that fit everything that is given, the oldest first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from headrace.index.paging import MAX_LIMIT
from headrace.index.run_index import RunIndex
from headrace.index.views import RunView
from headrace.registry.filters import Filter, FilterFailed, compile_filter

Wanted = Callable[[RunView], bool]
_OVER: Final = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Choice:
    """``where`` is a JMESPath expression over a run as ``headrace runs show --json`` prints it, without its records; what can't be
    evaluated on a run is not true of it, as with triggers.
    """

    where: str | None = None
    since: datetime | None = None
    agent: str | None = None
    state: str | None = None
    limit: int | None = None

    @property
    def given(self) -> bool:
        return any(one is not None for one in (self.where, self.since, self.agent, self.state))


class Chosen(NamedTuple):
    run_id: str
    agent: str


def to_rerun(replay_id: str) -> Wanted:
    """Runs that can begin once more under this replay id. Those of sub-agents are left to their parents, and what the replay has
    begun itself is not begun again.
    """
    return lambda run: run.state in _OVER and run.parent_run_id is None and run.replay_id != replay_id


def under_way(run: RunView) -> bool:
    """Whether it can still be cancelled."""
    return run.state not in _OVER


async def chosen(index: RunIndex, tenant: str, choice: Choice, wanted: Wanted) -> list[Chosen]:
    """The runs of ``choice`` that are also ``wanted``. Raises ``InvalidFilter``, and ``DependencyUnavailable``."""
    where = None if choice.where is None else compile_filter(choice.where)
    found = [
        Chosen(run.run_id, run.agent_name or "-")
        async for run in _newest_first(index, tenant, choice)
        if wanted(run) and _fits(where, run)
    ]
    return found[::-1][: choice.limit]


def by_agent(runs: Sequence[Chosen]) -> dict[str, int]:
    """How many there are of each agent."""
    return dict(Counter(run.agent for run in runs))


async def _newest_first(index: RunIndex, tenant: str, choice: Choice) -> AsyncIterator[RunView]:
    cursor: str | None = None
    while True:
        page = await index.runs(tenant, agent=choice.agent, state=choice.state, limit=MAX_LIMIT, cursor=cursor)
        for run in page.runs:
            if choice.since is not None and run.created_at < choice.since:
                return
            yield run
            await asyncio.sleep(0)  # a filter may be dear, and others wait
        if (cursor := page.cursor) is None:
            return


def _fits(where: Filter | None, run: RunView) -> bool:
    if where is None:
        return True
    try:
        return where.passes(run.model_dump(mode="json", exclude={"records", "family"}))
    except FilterFailed:
        return False

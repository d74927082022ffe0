"""The records of a run, read by the places that the index has of them, and the fork that is planned from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.forks.edits import CantFork, UnknownRun
from headrace.forks.plan import Asked, Planned, planned
from headrace.index import RunIndex, StepView
from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.job import Job
from headrace.runtime.api import Source
from headrace.runtime.pick import Picker
from headrace.runtime.wire import Wire

_OF_A_TURN: Final = frozenset({"tool_calls", "tool_results", "wait"})


class Forks:
    """Over the index, the topics and the blob store. ``plan`` raises ``DependencyUnavailable`` while one of them is away."""

    def __init__(self, index: RunIndex, picker: Picker, wire: Wire, tenant: str) -> None:
        self._index = index
        self._picker = picker
        self._wire = wire
        self._tenant = tenant

    async def plan(self, run_id: str, asked: Asked) -> Planned:
        """The fork of a run. Raises ``UnknownRun``, ``CantFork``, and ``BadMessage`` for a record that can't be read."""
        run = await self._index.run(self._tenant, run_id)
        if run is None:
            raise UnknownRun("no such run", "run_id")
        messages = await self._read(_needed(run.records, asked.at))
        job = next((one for one in messages if isinstance(one, Job)), None)
        if job is None:
            raise CantFork("the run's job record is gone", "run_id")
        return planned(job, run.agent_version, messages, asked)

    async def _read(self, places: Sequence[Source]) -> list[Message]:
        """In the order of ``places``."""
        records = await self._picker.read(places)
        found = [records[place] for place in places if place in records]
        return [
            await self._wire.decode(one.topic, one.key, one.value, record_headers.decode(one.headers)) for one in found
        ]


def _needed(records: Sequence[StepView], at: int | None) -> list[Source]:
    """The job, and what there is of the turn."""
    return [
        Source(one.topic, one.partition, one.offset)
        for one in records
        if one.kind == "job" or (one.kind in _OF_A_TURN and one.step == at)
    ]

"""The stage of a shadow replay: an event in, its whole shadow run out, in one transaction with the event's offset.

So a replay that is killed has, for each event, all records of its run or none of them, and goes on with the first event that is not
done. Runs of one key follow each other as the events do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headrace.messages.agent import AgentDefinition
from headrace.messages.base import Message
from headrace.messages.errors import RejectedMessage
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.replay.shadow.choice import in_baseline, shadow_job, skipped
from headrace.replay.shadow.plan import CALLS, JOBS, RESULTS, TOOL_RESULTS, ShadowPlan
from headrace.replay.shadow.runs import ShadowRuns
from headrace.replay.shadow.sessions import ShadowSessions, place_of
from headrace.replay.shadow.toolsets import ShadowToolsets
from headrace.runtime.api import Context, Send

_TOPICS: Final[Mapping[type[Message], str]] = {
    Job: JOBS,
    ToolCalls: CALLS,
    ToolResults: TOOL_RESULTS,
    AgentResult: RESULTS,
}


class ShadowProcessor:
    """A processor of ``ingest.events`` for one replay."""

    def __init__(self, plan: ShadowPlan, runs: ShadowRuns, sessions: ShadowSessions, toolsets: ShadowToolsets) -> None:
        self._plan = plan
        self._sessions = sessions
        self._toolsets = toolsets
        self._runs = runs

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        """The records of the event's runs: the candidate's, and the baseline's where it is in that sample."""
        if not isinstance(message, Event):
            raise RejectedMessage("a shadow replay takes events only", cause="unexpected_message")
        if not self._in_range(context) or skipped(self._plan, message) is not None:
            return ()
        if self._plan.follow:
            await asyncio.sleep(context.timestamp_ms / 1_000 + self._plan.follow_after_s - time.time())
        sends: list[Send] = []
        for definition, replay_id in self._tried(message):
            job = shadow_job(self._plan, message, definition, replay_id)
            place = place_of(self._plan, message, context.source, replay_id)
            with self._sessions.turn(job.job_id, place), self._toolsets.at(job.job_id, context.timestamp_ms):
                made = await self._runs.run(job, definition, context.headers)
            await self._sessions.keep(place, made[-1])
            sends += [Send(one, topic=_TOPICS[type(one)]) for one in made]
        return sends

    def _in_range(self, context: Context) -> bool:
        source = context.source
        start, end = self._plan.ranges.get(source.partition, (0, 0))
        if not self._plan.follow:
            return start <= source.offset < end
        return start <= source.offset and (self._plan.until_ms is None or context.timestamp_ms < self._plan.until_ms)

    def _tried(self, event: Event) -> Iterator[tuple[AgentDefinition, str]]:
        yield self._plan.candidate, self._plan.replay_id
        if in_baseline(self._plan, event):
            yield self._plan.live, self._plan.baseline_id

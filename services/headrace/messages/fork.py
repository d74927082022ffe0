"""What the job of a fork brings along: a run's records up to a step, as a continuation of the run that goes on from there.

Conversation and large results are references into the blob store, so nothing of the other run is copied. What its model calls
used is not part of it: a fork counts and pays what it does itself.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from headrace.messages.base import Part
from headrace.messages.lineage import ForkedFrom
from headrace.messages.run import Progress, SessionState, ToolCall, ToolOutcome, Transcript


class Taken(Part, frozen=True, kw_only=True):
    """The turn at which the fork goes on: its calls, and the outcomes that are there. Calls without one are made anew."""

    progress: Progress
    transcript: Transcript
    calls: Annotated[tuple[ToolCall, ...], Meta(min_length=1)]
    results: tuple[ToolOutcome, ...] = ()

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        answered = {outcome.call_id for outcome in self.results}
        return tuple(call for call in self.calls if call.call_id not in answered)


class Fork(Part, frozen=True, kw_only=True):
    """``taken`` None: from the job on. ``session`` is the conversation that the other run found; a fork adds nothing to it."""

    origin: ForkedFrom
    taken: Taken | None = None
    session: SessionState | None = None
    toolset_ref: Annotated[str | None, Meta(description="As of the other run")] = None

"""What tools gave to the live runs of an agent, by tool and canonical arguments.

An answer of the same event comes first, then the last one that any run of the agent in the range got. Outcomes are kept in memory
as records have them: content past a tool's inline bound is a reference, so one takes some hundred bytes to a few thousand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from headrace.messages import ids
from headrace.messages.run import ToolCall, ToolCalls, ToolOutcome, ToolResults
from headrace.reasoning.entries import canonical

Call = tuple[str, str]  # tool, name of its canonical arguments


class Offered(NamedTuple):
    """What the live run of an event was offered beside its agent's tools (None: nothing), and by which definition."""

    definition_hash: str
    toolset_ref: str | None


class Answers:
    """Fed with records in any order; asked for one call at a time."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._asked: dict[tuple[str, str], tuple[Call, str | None]] = {}  # (run, call id) -> call, event
        self._waiting: dict[tuple[str, str], ToolOutcome] = {}
        self._by_event: dict[tuple[str, Call], ToolOutcome] = {}
        self._by_call: dict[Call, ToolOutcome] = {}
        self._offered: dict[str, Offered] = {}

    def __len__(self) -> int:
        return len(self._by_call)

    def note(self, message: ToolCalls | ToolResults) -> None:
        """Take in a record of a live run; those of other agents are passed over, and those of forks, whose story was edited."""
        run = message.run
        if run.agent.name != self._agent or run.replay_id is not None or run.forked_from is not None:
            return
        if isinstance(message, ToolCalls):
            if run.event_uid and run.forked_from is None:
                self._offered[run.event_uid] = Offered(run.agent.definition_hash, run.toolset_ref)
            self._note_calls(run.run_id, run.event_uid, message.calls)
        else:
            for outcome in message.results:
                self._note_outcome((run.run_id, outcome.call_id), outcome)

    def find(self, call: ToolCall, event_uid: str | None) -> ToolOutcome | None:
        """The recorded outcome, under the id of this call; None if no run ever made the call."""
        key = _key(call)
        outcome = self._by_event.get((event_uid or "", key)) or self._by_call.get(key)
        return outcome.replace(call_id=call.call_id) if outcome else None

    def offered(self, event_uid: str | None) -> Offered | None:
        """None where the event's live run called no tool, so that no record of it says."""
        return self._offered.get(event_uid or "")

    def _note_calls(self, run_id: str, event_uid: str | None, calls: Iterable[ToolCall]) -> None:
        for call in calls:
            name = run_id, call.call_id
            self._asked[name] = _key(call), event_uid
            if outcome := self._waiting.pop(name, None):
                self._note_outcome(name, outcome)

    def _note_outcome(self, name: tuple[str, str], outcome: ToolOutcome) -> None:
        if (asked := self._asked.pop(name, None)) is None:
            self._waiting[name] = outcome
            return
        key, event_uid = asked
        self._by_call[key] = outcome
        if event_uid:
            self._by_event[event_uid, key] = outcome


def _key(call: ToolCall) -> Call:
    """Arguments past the inline bound are a blob of just these bytes, so both forms have one name."""
    return call.tool, call.arguments_ref or ids.content_ref(canonical(call.arguments).encode())

"""Which rows of the index a message stands for, by their keys alone.

Said a second time, apart from ``persistence.rows``, so that a rebuild is checked by something else than what it runs. Keys are
texts with their parts joined by ``SEPARATOR``; a place is ``topic/partition/offset``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from headrace.messages.base import Message
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.messages.wait import RunWait
from headrace.postgres.json import storable_text

SEPARATOR: Final = "\x1f"
Key = tuple[str, str]  # table, key


def rows_of(message: Message, place: str) -> list[Key]:
    """Empty for a message that the index does not hold."""
    identify = _ROWS.get(type(message))
    return [] if identify is None else identify(message, place)


def run_key(tenant: str, run_id: str) -> str:
    return storable_text(tenant) + SEPARATOR + storable_text(run_id)


def _job(job: Job, place: str) -> list[Key]:
    return [("run_steps", place), ("runs", run_key(job.tenant, job.job_id))]


def _turn(message: ToolCalls | ToolResults | RunWait, place: str) -> list[Key]:
    return [("run_steps", place), ("runs", run_key(message.run.tenant, message.run.run_id))]


def _result(result: AgentResult, place: str) -> list[Key]:
    run = run_key(result.tenant, result.job_id)
    session = [("session_runs", run)] if result.session is not None and result.session_id is not None else []
    return [("run_steps", place), ("runs", run), ("agent_results", run), *session]


def _event(event: Event, _place: str) -> list[Key]:
    return [("events", storable_text(event.uid))]


_ROWS: Final[dict[type[Message], Callable[[Any, str], list[Key]]]] = {
    Job: _job,
    ToolCalls: _turn,
    ToolResults: _turn,
    RunWait: _turn,
    AgentResult: _result,
    Event: _event,
}

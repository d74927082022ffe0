"""``run.waits``, ``wait.completions`` and ``agent.results`` -> ``agent.jobs`` of sub-agents, and the record that a
run goes on with.

A wait is in Postgres before its jobs are in Kafka, so whatever completes it finds it. The state there and the outputs here can't be
one transaction; instead the row says which record closed the wait, and that record makes the same output however often it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headrace.blobs import BlobStore
from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.errors import RejectedMessage
from headrace.messages.result import AgentResult
from headrace.messages.wait import RunWait, WaitCompletion
from headrace.observe.logging import get_logger
from headrace.orchestration.waits.answer import answer_of, reported_answer
from headrace.orchestration.waits.resume import ended, resumed
from headrace.orchestration.waits.settle import Question, Settled, by_completion, by_result
from headrace.orchestration.waits.store import Closed, Name, PostgresWaits
from headrace.runtime.api import Context, Send

log = get_logger(__name__)


class Waits:
    """The part of the orchestration service that keeps runs that wait. ``inline_bytes`` bounds an answer in a record."""

    takes: Final = (RunWait, WaitCompletion, AgentResult)

    def __init__(self, store: PostgresWaits, blobs: BlobStore, inline_bytes: int) -> None:
        self._store = store
        self._blobs = blobs
        self._inline_bytes = inline_bytes

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        match message:
            case RunWait():
                return await self._park(message, context)
            case WaitCompletion():
                return _going_on(await self._complete(message, context))
            case AgentResult():
                return _going_on(await self._answer(message, context))
        raise RejectedMessage(f"waits do not take {type(message).__name__}", cause="unexpected_message")

    async def _park(self, wait: RunWait, context: Context) -> Sequence[Send]:
        pending = {one.call_id for one in wait.pending}
        if len(pending) < len(wait.pending) or pending - {call.call_id for call in wait.calls}:
            raise RejectedMessage(
                "a pending call is none of the calls, or twice", cause="wait_mismatch", where="/pending"
            )
        is_open = await self._store.park(wait, context, _correlation(context.headers))
        log.info("run_parked", run_id=wait.run.run_id, kinds=sorted({one.kind for one in wait.pending}))
        return [Send(one.job) for one in wait.pending if one.job] if is_open else []

    async def _complete(self, said: WaitCompletion, context: Context) -> Closed | None:
        name = Name(said.tenant, said.run_id, said.step, said.round)
        answer = None
        if said.reported is not None:
            answer = await reported_answer(said.reported, said.tenant, self._blobs, self._inline_bytes)

        def decide(asked: Question) -> Settled | None:
            settled = by_completion(asked, said)
            if answer is None or settled is None or settled.state != "reported":
                return settled
            return settled.replace(outcome=answer.to(asked.call))

        return await self._store.settle(name, said.call_id, context, decide)

    async def _answer(self, result: AgentResult, context: Context) -> Closed | None:
        if result.parent_run_id is None:
            return None
        found = await self._store.child(result.tenant, result.job_id)
        if found is None:
            return None
        name, call_id = found
        answer = await answer_of(result, self._blobs, self._inline_bytes)
        return await self._store.settle(
            name, call_id, context, lambda asked: by_result(asked, result, answer.to(asked.call))
        )


def _going_on(closed: Closed | None) -> Sequence[Send]:
    if closed is None:
        return []
    end = ended if closed.cancelled else resumed
    record = end(closed.wait, closed.settled, parked_ms=closed.parked_ms, closed_ms=closed.closed_ms)
    log.info("run_goes_on", run_id=record.run.run_id, states=sorted({one.state for one in closed.settled.values()}))
    return [Send(record, headers=closed.correlation)]


def _correlation(headers: Mapping[str, str]) -> dict[str, str]:
    """What ties the run's next record to its own trace, though another record is its cause."""
    kept = record_headers.trace_context(headers)
    if first := headers.get(record_headers.CORRELATION) or headers.get(record_headers.ID):
        kept[record_headers.CORRELATION] = first
    return kept

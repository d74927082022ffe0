"""A tail of the run topics as run events: only records of runs that somebody watches are decoded at all.

It knows records by their headers (``ce_runid``); a job that another program wrote without headers is known by its ``job_id``.
What can't be read is passed over: the stage that consumes it dead-letters it, and the index shows that.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from headrace.gateway.ports import TOKENS, JsonDict, RunEvent
from headrace.messages.base import Message
from headrace.messages.errors import BadMessage
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults, Turn, Usage
from headrace.messages.tokens import RunTokens
from headrace.messages.wait import RunWait

if TYPE_CHECKING:
    from headrace.runtime.tail import TailRecord

Decode = Callable[[str, bytes | None, bytes | None, Mapping[str, str]], Awaitable[Message]]
Records = AbstractAsyncContextManager[AsyncIterable["TailRecord"]]
TOKEN_TOPICS: Final = (RunTokens.TOPIC,)
RUN_TOPICS: Final = tuple(message.TOPIC for message in (Job, ToolCalls, ToolResults, RunWait, AgentResult))
_RUN_ID: Final = "ce_runid"


class LiveTail:
    """``feed.RunTail`` over a tail of records. ``watched`` says whether anybody follows a run."""

    def __init__(self, records: Records, decode: Decode, watched: Callable[[str], bool]) -> None:
        self._records = records
        self._entered: AsyncIterable[TailRecord] | None = None
        self._decode = decode
        self._watched = watched

    async def start(self) -> None:
        self._entered = await self._records.__aenter__()

    async def stop(self) -> None:
        if self._entered is not None:
            self._entered = None
            await self._records.__aexit__(None, None, None)

    async def __aiter__(self) -> AsyncIterator[RunEvent]:
        if self._entered is None:
            return
        async for record in self._entered:
            if event := await self._event(record):
                yield event

    async def _event(self, record: TailRecord) -> RunEvent | None:
        run_id = record.headers.get(_RUN_ID)
        if run_id is not None and not self._watched(run_id):
            return None
        if run_id is None and record.topic != Job.TOPIC:
            return None
        try:
            message = await self._decode(record.topic, record.key, record.value, record.headers)
        except BadMessage:
            return None
        described = describe(message)
        if described is None or not self._watched(described[1]):
            return None
        type_, run_id, step, data = described
        place = (record.topic, record.partition, record.offset)
        return RunEvent(type_, run_id, *place, record.timestamp_ms, step, data)


def describe(message: Message) -> tuple[str, str, int, JsonDict] | None:
    """(type, run id, step, summary) of a run's record: names, sizes, outcomes and costs; no arguments or contents,
    but for tokens, which are nothing else."""
    match message:
        case Job():
            data = _known(agent=message.agent, agent_version=message.agent_version, timeout_sec=message.timeout_sec)
            return "job", message.job_id, 0, data
        case ToolCalls():
            calls = [{"call_id": call.call_id, "tool": call.tool, "effect": call.effect} for call in message.calls]
            return "tool_calls", message.run.run_id, message.progress.step, {"calls": calls, **_turns(message.turns)}
        case ToolResults():
            results = [
                _known(
                    call_id=r.call_id,
                    tool=r.tool,
                    status=r.status,
                    duration_ms=r.duration_ms,
                    error_type=_type(r.error),
                )
                for r in message.results
            ]
            return "tool_results", message.run.run_id, message.progress.step, {"results": results}
        case RunWait():
            tools = {call.call_id: call.tool for call in message.calls}
            pending = [
                {
                    "call_id": one.call_id,
                    "tool": tools.get(one.call_id),
                    "kind": one.kind,
                    "deadline_ms": one.deadline_ms,
                }
                for one in message.pending
            ]
            return "wait", message.run.run_id, message.progress.step, {"pending": pending}
        case AgentResult():
            data = _known(
                status=message.status,
                error_type=_type(message.error),
                result_ref=message.result_ref,
                tokens_used=message.metadata.tokens_used,
                **_turns(message.turns),
            )
            return "result", message.job_id, message.steps, data
        case RunTokens():
            return TOKENS, message.run_id, message.step, {"at": message.at, "text": message.text}
    return None


def _turns(turns: tuple[Turn, ...]) -> JsonDict:
    """The model calls that led to a record, as one."""
    if not turns:
        return {}
    usage = Usage.of(turns)
    return _known(
        model=turns[-1].model,
        model_calls=len(turns),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
        stop_reason=turns[-1].stop_reason,
    )


def _type(error: Any) -> str | None:
    return error.type if error else None


def _known(**values: Any) -> JsonDict:
    return {name: value for name, value in values.items() if value is not None}

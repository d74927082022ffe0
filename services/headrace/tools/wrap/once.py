"""Once: a call that must not be made twice is written down before it is made. If it may have been made already, somebody is asked.

A failure that the tool itself reports is an outcome like any other. A time-out, a crash or an unforeseen error leaves
open what happened, and so the intent stays open.
"""

from __future__ import annotations

from typing import Any

from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError, TransientError
from headrace.tools.api import CallParked, Run, ToolContext, ToolFailure, ToolOutput
from headrace.tools.intents import Begun, Finished, Intents

_UNKNOWN = frozenset({"timeout", "too_large", "internal_error"})  # failures of the call, not told by the tool


def once(intents: Intents, run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        key = context.idempotency_key
        found = await intents.begin(key, context.round, again=context.approval == "repeat")
        if isinstance(found, Finished):
            return _again(found.outcome)
        if not isinstance(found, Begun):
            raise CallParked("intent", context.approve_by_ms)
        try:
            output = await run(arguments, context)
        except ToolFailure as failure:
            if failure.type in _UNKNOWN:
                raise CallParked("intent", context.approve_by_ms) from None
            await intents.finish(key, {"failure": _told(failure)})
            raise
        except (TransientError, FatalError):
            raise
        except Exception:
            raise CallParked("intent", context.approve_by_ms) from None
        await intents.finish(key, {"content": output.content})
        return output

    return guarded


def _told(failure: ToolFailure) -> dict[str, Any]:
    return {
        "type": failure.type,
        "message": str(failure),
        "retryable": failure.retryable,
        "step": failure.step,
    }


def _again(outcome: dict[str, Any]) -> ToolOutput:
    if told := outcome.get("failure"):
        raise ToolFailure(told["type"], told["message"], retryable=told["retryable"], step=told["step"])
    return ToolOutput(outcome["content"])

"""Timeout: a call takes no longer than its tool allows, nor than its run has left."""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.runtime.within import TimeIsUp, within
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput


def timed(timeout_s: float, run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        limit = min(timeout_s, context.remaining_s)
        if limit <= 0:
            raise ToolFailure("deadline", "the run has no time left for another tool call")
        try:
            return await within(limit, run(arguments, context))
        except TimeIsUp:
            raise ToolFailure("timeout", f"no result within {limit:g} s", retryable=True) from None

    return guarded

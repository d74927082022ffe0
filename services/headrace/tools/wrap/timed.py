"""Timeout: a call takes no longer than its tool allows, nor than its run has left."""

from __future__ import annotations

import asyncio

from headrace.messages.base import JsonObject
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput


def timed(timeout_s: float, run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        limit = min(timeout_s, context.remaining_s)
        if limit <= 0:
            raise ToolFailure("deadline", "the run has no time left for another tool call")
        try:
            async with asyncio.timeout(limit) as timer:
                return await run(arguments, context)
        except TimeoutError:
            if not timer.expired():
                raise  # the tool's own
            raise ToolFailure("timeout", f"no result within {limit:g} s", retryable=True) from None

    return guarded

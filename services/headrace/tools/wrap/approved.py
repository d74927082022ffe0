"""Approval: a call that needs somebody's yes is parked until it has it. What would be refused anyway is not asked for."""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.api import CallParked, Run, ToolContext, ToolOutput


def approved(run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if context.approval == "required":
            raise CallParked("approval", context.approve_by_ms)
        return await run(arguments, context)

    return guarded

"""Allow-list: an agent may call the tools that its definition names, and no other."""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput


def allowed(name: str, run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if name not in context.tools:
            raise ToolFailure("not_allowed", f"agent {context.agent} may not use the tool {name}")
        return await run(arguments, context)

    return guarded

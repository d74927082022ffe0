"""Bound: a tool's output is JSON and no larger than it may be. It is refused, never cut: half an answer is a wrong
one.
"""

from __future__ import annotations

import orjson

from headrace.messages.base import JsonObject
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput


def bounded(max_bytes: int, run: Run) -> Run:
    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        output = await run(arguments, context)
        try:
            size = len(orjson.dumps(output.content))
        except TypeError:
            raise ToolFailure("internal_error", "the tool gave something that is not JSON") from None
        if size > max_bytes:
            raise ToolFailure("too_large", f"the result has {size} bytes, more than {max_bytes}")
        return output

    return guarded

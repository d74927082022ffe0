"""From what a call gave to what its record says: small content inline, large content as a reference with a preview."""

from __future__ import annotations

from typing import Any, Final

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.preview import preview
from headrace.messages.run import ToolCall, ToolError, ToolOutcome
from headrace.tools.api import ToolFailure

_MAX_MESSAGE: Final = 1_000  # characters


async def succeeded(
    call: ToolCall,
    version: str,
    content: Any,
    duration_ms: int,
    blobs: BlobStore,
    inline_bytes: int,
    *,
    cache_hit: bool = False,
) -> ToolOutcome:
    """Raises ``DependencyUnavailable`` when large content can't be stored now."""
    data = orjson.dumps(content)
    small = len(data) <= inline_bytes
    return ToolOutcome(
        call_id=call.call_id,
        tool=call.tool,
        tool_version=version,
        status="ok",
        content=content if small else None,
        content_ref=None if small else await blobs.put(data),
        preview=None if small else preview(content, inline_bytes // 2),
        duration_ms=duration_ms,
        cache_hit=cache_hit,
    )


def failed(call: ToolCall, version: str, failure: ToolFailure, duration_ms: int) -> ToolOutcome:
    text = str(failure)
    message = text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "..."
    return ToolOutcome(
        call_id=call.call_id,
        tool=call.tool,
        tool_version=version,
        status="error",
        error=ToolError(type=failure.type, message=message, retryable=failure.retryable, step=failure.step),
        duration_ms=duration_ms,
    )

"""Messages of the conversation, made from turns and tool outcomes. Pure, so the same records always make the same
bytes.
"""

from __future__ import annotations

from typing import Any

import orjson

from headrace.messages.run import CallRequest, Entry, ToolOutcome, Turn


def canonical(value: Any) -> str:
    """As ``canonical_json``, as text, and for what YAML wrote too: keys that are no text become text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def turn_entry(turn: Turn) -> Entry:
    """What the model said."""
    return Entry(role="assistant", content=turn.text, content_ref=turn.text_ref, tool_calls=turn.tool_calls)


def outcome_entry(outcome: ToolOutcome) -> Entry:
    """What a tool gave, as the model reads it: JSON, or an error in words."""
    content: str | None = None
    if outcome.status == "error":
        error = outcome.error.plain(nulls=False) if outcome.error else {"type": "error"}
        content = canonical({"error": error})
    elif outcome.content_ref is None:
        content = canonical(outcome.content)
    return Entry(
        role="tool",
        content=content,
        content_ref=outcome.content_ref if content is None else None,
        call_id=outcome.call_id,
        tool=outcome.tool,
        is_error=outcome.status == "error",
    )


def numbered(requests: tuple[CallRequest, ...], step: int) -> tuple[CallRequest, ...]:
    """``requests`` with ids by position (``call_<step>_<index>``): unique within the run, whatever the provider gave.

    Some compatible servers repeat ids or leave them empty. Numbering numbered requests changes nothing.
    """
    return tuple(request.replace(id=f"call_{step}_{index}") for index, request in enumerate(requests, start=1))

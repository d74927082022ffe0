"""Tool arguments as a model wrote them.

Models sometimes write arguments that are no JSON object. Failing the turn would pay for it again with the same outcome, so the call
goes on with ``{"_malformed": "<the text, cut>"}``: the tool layer must ask ``malformed`` first and answer with an error that the
model can read and mend. Arguments are held to the bounds of ``strict_json``, since they travel in records that are read that way.
"""

from __future__ import annotations

from typing import Any

import orjson

from headrace.messages import strict_json
from headrace.messages.errors import UndecodableMessage

MALFORMED = "_malformed"
_KEPT_CHARS = 1_000


def parse(text: str) -> dict[str, Any]:
    """Arguments from JSON text; blank text is an empty object, since models write that for tools without parameters."""
    if not text.strip():
        return {}
    try:
        value = strict_json.loads(text.encode("utf-8", "replace"))
    except UndecodableMessage:
        return _marked(text)
    return value if isinstance(value, dict) else _marked(text)


def checked(value: Any) -> dict[str, Any]:
    """Arguments that came as JSON already: the same object, or marked when it is none or out of bounds."""
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError):  # JSONEncodeError is a TypeError: nested too deeply
        return _marked("")
    return parse(text.decode())


def malformed(arguments: dict[str, Any]) -> str | None:
    """The text that could not be read, if ``arguments`` stand for such; None for good ones."""
    text = arguments.get(MALFORMED)
    return text if isinstance(text, str) and len(arguments) == 1 else None


def _marked(text: str) -> dict[str, Any]:
    return {MALFORMED: text[:_KEPT_CHARS].encode("utf-8", "replace").decode()}

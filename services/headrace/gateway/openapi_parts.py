"""What descriptions of plain endpoints are made of."""

from __future__ import annotations

from typing import Any, Final

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable, for programs"},
                "message": {"type": "string"},
                "where": {"type": "string", "description": "Header name, JSON pointer or byte offset"},
            },
        }
    },
}

LIMITED: Final = "Over the rate limit, or a budget has nothing left for it; see Retry-After"


def answers(accepted: dict[str, Any], **errors: str) -> dict[str, Any]:
    """202 with these properties, and the errors of every writing endpoint with ``errors`` (``_400="..."``)."""
    schema = {"type": "object", "properties": accepted}
    made: dict[str, Any] = {"202": {"description": "Durable", "content": {"application/json": {"schema": schema}}}}
    return made | refusals(**errors, _413="Body over the limit", _503="Not durable; see Retry-After")


def refusals(**errors: str) -> dict[str, Any]:
    """The errors of an endpoint (``_400="..."``)."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status.lstrip("_"): {"description": text, "content": content} for status, text in errors.items()}


def body(*contents: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """By media type."""
    return {"required": True, "content": {media: {"schema": schema} for media, schema in contents}}


def parameter(name: str, place: str, text: str, *, required: bool = False, type_: str = "string") -> dict[str, Any]:
    """``place``: path, query or header."""
    return {"name": name, "in": place, "required": required, "description": text, "schema": {"type": type_}}

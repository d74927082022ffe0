"""OpenAPI of the routes that are plain endpoints for speed: what FastAPI can't derive, said by hand."""

from __future__ import annotations

from typing import Any, Final

from headrace.contracts.documents import part_schemas
from headrace.gateway.run_requests import RunRequest
from headrace.messages.event import Envelope

_ERROR: Final[dict[str, Any]] = {
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


def _answers(accepted: dict[str, Any], **errors: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": accepted}
    answers: dict[str, Any] = {"202": {"description": "Durable", "content": {"application/json": {"schema": schema}}}}
    return answers | _refusals(**errors, _413="Body over the limit", _503="Not durable; see Retry-After")


def _refusals(**errors: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status.lstrip("_"): {"description": text, "content": content} for status, text in errors.items()}


def _body(*contents: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"required": True, "content": {media: {"schema": schema} for media, schema in contents}}


def _parameter(name: str, place: str, text: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "description": text, "schema": {"type": "string"}}


def _paths() -> dict[str, Any]:
    event = {"type": "object", "required": ["specversion", "id", "source", "type"]}
    strings = {"type": "array", "items": {"type": ["string", "null"]}}
    return {
        "/webhooks/{source}": {
            "post": {
                "tags": ["events"],
                "summary": "Accept a sender's webhook",
                "description": "The raw body is verified by the source's scheme and kept byte for byte.",
                "parameters": [_parameter("source", "path", "Such as github or alertmanager", required=True)],
                "requestBody": _body(
                    ("application/json", {}), ("application/x-www-form-urlencoded", {}), ("text/plain", {})
                ),
                "responses": {"200": {"description": "A handshake of this source, answered; nothing is recorded"}}
                | _answers(
                    {"delivery_id": {"type": "string"}},
                    _400="Not the JSON that everybody reads alike",
                    _401="Signature or credential missing or wrong",
                    _403="This source is not configured",
                    _404="Unknown source",
                    _415="Content type or encoding",
                ),
            },
            "get": {
                "tags": ["events"],
                "summary": "Answer a handshake that comes as a GET, on sources that have one (Meta, X)",
                "parameters": [_parameter("source", "path", "Such as meta or x", required=True)],
                "responses": {
                    "200": {"description": "What the sender asked for"},
                    **_refusals(_403="Not this source's handshake", _404="Unknown source", _405="This source has none"),
                },
            },
        },
        "/events": {
            "options": {
                "tags": ["events"],
                "summary": "Admit a sender of CloudEvents by its WebHook-Request-Origin",
                "responses": {
                    "200": {"description": "It may deliver"},
                    **_refusals(_405="Not an origin that is allowed"),
                },
            },
            "post": {
                "tags": ["events"],
                "summary": "Accept events: CloudEvents (binary, structured, batch) or the plain envelope",
                "description": "All events of a request are accepted, or none.",
                "requestBody": _body(
                    ("application/json", part_schemas((Envelope,))["Envelope"]),
                    ("application/cloudevents+json", event),
                    ("application/cloudevents-batch+json", {"type": "array", "items": event}),
                ),
                "responses": _answers(
                    {"accepted": {"type": "integer"}, "ids": strings},
                    _400="Not a CloudEvent; where says which attribute",
                    _401="Token missing or wrong",
                    _415="Content type or encoding",
                    _422="Not an envelope",
                ),
            },
        },
        "/v1/runs": {
            "post": {
                "tags": ["runs"],
                "summary": "Run an agent",
                "parameters": [_parameter("Idempotency-Key", "header", "The same key is the same run")],
                "requestBody": _body(("application/json", RunRequest.model_json_schema())),
                "responses": _answers(
                    {"run_id": {"type": "string"}, "status_url": {"type": "string"}},
                    _400="Unknown agent, or broken JSON",
                    _422="The input breaks the agent's schema, or the key was used for another request",
                ),
            }
        },
        "/v1/runs/{run_id}/events": {
            "get": {
                "tags": ["runs"],
                "summary": "Follow a run live (server-sent events), from its first record to its result",
                "parameters": [
                    _parameter("run_id", "path", "As POST /v1/runs answered", required=True),
                    _parameter("Last-Event-ID", "header", "Go on after this event"),
                ],
                "responses": {"200": {"description": "Events", "content": {"text/event-stream": {}}}},
            }
        },
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """``document``, as FastAPI made it, with the plain endpoints and the error shape added."""
    for path, operations in _paths().items():
        document.setdefault("paths", {}).setdefault(path, {}).update(operations)
    document.setdefault("components", {}).setdefault("schemas", {})["Error"] = _ERROR
    return document

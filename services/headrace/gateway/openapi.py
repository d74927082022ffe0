"""OpenAPI of the routes that are plain endpoints for speed: what FastAPI can't derive, said by hand."""

from __future__ import annotations

from typing import Any

from headrace.contracts.documents import part_schemas
from headrace.gateway.chat import chat_paths
from headrace.gateway.openapi_agents import protocol_paths
from headrace.gateway.openapi_approvals import approval_paths
from headrace.gateway.openapi_parts import ERROR, LIMITED, answers, body, parameter, refusals
from headrace.gateway.openapi_runs import door_paths, run_paths
from headrace.messages.event import Envelope


def _paths() -> dict[str, Any]:
    event = {"type": "object", "required": ["specversion", "id", "source", "type"]}
    strings = {"type": "array", "items": {"type": ["string", "null"]}}
    return {
        "/webhooks/{source}": {
            "post": {
                "tags": ["events"],
                "summary": "Accept a sender's webhook",
                "description": "The raw body is verified by the source's scheme and kept byte for byte.",
                "parameters": [parameter("source", "path", "Such as github or alertmanager", required=True)],
                "requestBody": body(
                    ("application/json", {}), ("application/x-www-form-urlencoded", {}), ("text/plain", {})
                ),
                "responses": {"200": {"description": "A handshake of this source, answered; nothing is recorded"}}
                | answers(
                    {"delivery_id": {"type": "string"}},
                    _400="Not the JSON that everybody reads alike",
                    _401="Signature or credential missing or wrong",
                    _403="This source is not configured",
                    _404="Unknown source",
                    _415="Content type or encoding",
                    _429="Over the rate limit, for a sender that sends again after a 429; see Retry-After",
                ),
            },
            "get": {
                "tags": ["events"],
                "summary": "Answer a handshake that comes as a GET, on sources that have one (Meta, X)",
                "parameters": [parameter("source", "path", "Such as meta or x", required=True)],
                "responses": {
                    "200": {"description": "What the sender asked for"},
                    **refusals(_403="Not this source's handshake", _404="Unknown source", _405="This source has none"),
                },
            },
            "options": {
                "tags": ["events"],
                "summary": "Admit a sender by its WebHook-Request-Origin, on sources that have this handshake",
                "parameters": [parameter("source", "path", "Such as cloudevents", required=True)],
                "responses": {
                    "200": {"description": "It may deliver"},
                    **refusals(_403="Not configured", _404="Unknown source", _405="Not an origin that is allowed"),
                },
            },
        },
        "/events": {
            "options": {
                "tags": ["events"],
                "summary": "Admit a sender of CloudEvents by its WebHook-Request-Origin",
                "responses": {
                    "200": {"description": "It may deliver"},
                    **refusals(_405="Not an origin that is allowed"),
                },
            },
            "post": {
                "tags": ["events"],
                "summary": "Accept events: CloudEvents (binary, structured, batch) or the plain envelope",
                "description": "All events of a request are accepted, or none.",
                "requestBody": body(
                    ("application/json", part_schemas((Envelope,))["Envelope"]),
                    ("application/cloudevents+json", event),
                    ("application/cloudevents-batch+json", {"type": "array", "items": event}),
                ),
                "responses": answers(
                    {"accepted": {"type": "integer"}, "ids": strings},
                    _400="Not a CloudEvent; where says which attribute",
                    _401="Token missing or wrong",
                    _415="Content type or encoding",
                    _422="Not an envelope",
                    _429=LIMITED,
                ),
            },
        },
        **run_paths(),
        **approval_paths(),
        **door_paths(),
        **chat_paths(),
        **protocol_paths(),
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """``document``, as FastAPI made it, with the plain endpoints and the error shape added."""
    for path, operations in _paths().items():
        document.setdefault("paths", {}).setdefault(path, {}).update(operations)
    document.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    return document

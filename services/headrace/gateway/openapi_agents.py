"""OpenAPI of the doors for other protocols of agents: MCP and A2A. Their own bodies are those protocols' to describe."""

from __future__ import annotations

from typing import Any, Final

from headrace.gateway.openapi_parts import body, parameter, refusals

_RPC: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {"jsonrpc": {"const": "2.0"}},
}
_AGENT: Final = parameter("agent", "path", "Name of a published agent", required=True)


def protocol_paths() -> dict[str, Any]:
    card = {"200": _json("The card", {"type": "object", "required": ["name", "url", "skills"]})}
    card |= refusals(_404="No such agent", _503="The catalogue of agents is not known yet")
    return {
        "/mcp": {
            "post": {
                "tags": ["protocols"],
                "summary": "The mesh as an MCP server (streamable HTTP, stateless)",
                "parameters": [parameter("Accept", "header", "application/json, text/event-stream", required=True)],
                "requestBody": body(("application/json", _RPC)),
                "responses": {
                    "200": _json("An answer of JSON-RPC", {"type": "object"}),
                    "202": {"description": "A notification, taken"},
                    "400": {"description": "Not a message of the protocol, or of a version of it that is not spoken"},
                    "404": {"description": "No such method"},
                    "406": {"description": "Accept lacks one of the two types"},
                    "413": {"description": "Body over the limit"},
                    "415": {"description": "Content type"},
                    **refusals(_403="From a browser"),
                },
            }
        },
        "/a2a/{agent}": {
            "post": {
                "tags": ["protocols"],
                "summary": "A2A: give an agent a task, look at it, cancel it (JSON-RPC)",
                "parameters": [_AGENT, parameter("A2A-Version", "header", "0.3 or 1.0")],
                "requestBody": body(("application/json", _RPC)),
                "responses": {
                    "200": _json(
                        "An answer of JSON-RPC, errors too", {"type": "object", "required": ["jsonrpc", "id"]}
                    ),
                    **refusals(_404="No such agent", _413="Body over the limit", _503="The catalogue is not known yet"),
                },
            }
        },
        "/a2a/{agent}/.well-known/agent-card.json": {
            "get": {"tags": ["protocols"], "summary": "An agent's card", "parameters": [_AGENT], "responses": card}
        },
        "/.well-known/agent-card.json": {
            "get": {"tags": ["protocols"], "summary": "The default agent's card", "responses": card}
        },
    }


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}

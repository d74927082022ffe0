"""Agent cards: what an agent is and how it is reached, readable to callers of A2A 0.3 and 1.0. Pure."""

from __future__ import annotations

from typing import Any, Final

from headrace.gateway.a2a.dialects import DIALECTS, V03
from headrace.gateway.ports import JsonDict
from headrace.messages.agent import AgentDefinition

_TEXT: Final = "text/plain"
_JSON: Final = "application/json"


def card(agent: AgentDefinition, url: str, *, guarded: bool) -> JsonDict:
    """``url`` is the agent's endpoint. The system prompt is not in it: that is its owner's to show."""
    inputs = [_JSON] if agent.input_schema else [_TEXT, _JSON]
    outputs = [_JSON] if agent.output_schema else [_TEXT]
    made: JsonDict = {
        "name": agent.name,
        "description": agent.description,
        "version": agent.version,
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": dialect.version} for dialect in DIALECTS
        ],
        "capabilities": {"streaming": False, "pushNotifications": False},
        "defaultInputModes": inputs,
        "defaultOutputModes": outputs,
        "skills": [_skill(agent)],
        # what 0.3 has instead of supportedInterfaces
        "protocolVersion": f"{V03.version}.0",
        "url": url,
        "preferredTransport": "JSONRPC",
    }
    return made | (_SECURITY if guarded else {})


def _skill(agent: AgentDefinition) -> JsonDict:
    return {
        "id": agent.name,
        "name": agent.name,
        "description": agent.description,
        "tags": [agent.category],
    }


_SECURITY: Final[dict[str, Any]] = {
    "securitySchemes": {
        "bearer": {"type": "http", "scheme": "bearer", "httpAuthSecurityScheme": {"scheme": "Bearer"}},
    },
    "security": [{"bearer": []}],
    "securityRequirements": [{"schemes": {"bearer": {"list": []}}}],
}

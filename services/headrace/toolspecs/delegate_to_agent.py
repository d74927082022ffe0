"""``delegate_to_agent``: hand a piece of work to another agent and get its answer.

The field names are those of the protocol's document. Only the types that exist are published.
"""

from __future__ import annotations

from typing import Final

from headrace.toolspecs.spec import Spec

MESH_AGENT: Final = "mesh_agent"
JOB_AGENTS: Final = ("code_interpreter", "custom_container", "langchain_agent")
AGENT_TYPES: Final = (MESH_AGENT, *JOB_AGENTS)

_DESCRIPTION: Final = """\
Delegate a task to another agent and get its answer. Ask for several in one turn to have them work side by side.
agent_type mesh_agent: an agent of this mesh, by config {agent: its name, version?}. inputs is all that it gets to know, so put in
everything that it needs. It works within what is left of your own limits.
The others run as Kubernetes Jobs, where the operator has set them up; config may ask for less than the most: timeout_s, cpu_millis,
memory_mb. code_interpreter: inputs {code}. custom_container: container_image names one of the operator's images. langchain_agent:
inputs are that agent's own."""

DELEGATE_TO_AGENT: Final = Spec(
    name="delegate_to_agent",
    version="1.0.0",
    description=_DESCRIPTION,
    parameters={
        "type": "object",
        "required": ["agent_type", "inputs"],
        "additionalProperties": False,
        "properties": {
            "agent_type": {"type": "string", "enum": list(AGENT_TYPES), "description": "Type of agent to use"},
            "inputs": {"type": "object", "description": "Input data for the agent"},
            "container_image": {"type": "string", "description": "Docker image for custom_container type"},
            "config": {
                "type": "object",
                "description": "Agent-specific configuration",
                "properties": {"agent": {"type": "string"}, "version": {"type": "string"}},
            },
        },
    },
    effect="idempotent",
)

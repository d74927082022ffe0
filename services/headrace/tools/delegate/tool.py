"""The tool: which target takes a type of agent. It knows nothing of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from headrace.messages.base import JsonObject
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.toolspecs import Spec
from headrace.toolspecs.delegate_to_agent import DELEGATE_TO_AGENT

IMAGE: Final = "container_image"


class Target(Protocol):
    """A type of agent that work can be handed to. Raises as ``Tool.run`` does, ``CallParked`` above all.

    ``timeout_s``: how long handing it over may take.
    """

    @property
    def timeout_s(self) -> float: ...

    async def start(self, inputs: JsonObject, config: JsonObject, context: ToolContext) -> ToolOutput: ...


class DelegateToAgent:
    """A ``Tool``. ``targets`` by ``agent_type``."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self._targets = targets

    @property
    def spec(self) -> Spec:
        return DELEGATE_TO_AGENT

    @property
    def timeout_s(self) -> float:
        return max((target.timeout_s for target in self._targets.values()), default=0.0)

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        target = self._targets.get(arguments["agent_type"])
        if target is None:
            raise ToolFailure(
                "agent_type", f"this mesh has agents of the types {', '.join(sorted(self._targets))} only"
            )
        config = dict(arguments.get("config") or {})
        if IMAGE in arguments:
            config[IMAGE] = arguments[IMAGE]
        return await target.start(arguments["inputs"], config, context)

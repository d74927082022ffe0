"""Frameworks that take a run's turns in place of the mesh's own single model call: one small adapter each, imported when first
used.

An adapter is given what a model would be given, and ``ask``, the run's model with everything around it. What it returns is the
turn: text, or tool calls for the mesh to make. It keeps nothing between turns, since the next one may be anywhere; the
conversation is in the request.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final, Protocol

from headrace.messages.agent import AgentDefinition
from headrace.messages.run import RunInfo, Usage
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.registry.runtimes import RUNTIMES

Ask = Callable[[ModelRequest], Awaitable[ModelReply]]
"""One model call. Raises ``ModelError``."""

_PLACES: Final[Mapping[str, str]] = {
    "autogen": "headrace.reasoning.frameworks.autogen",
    "crewai": "headrace.reasoning.frameworks.crewai",
    "langgraph": "headrace.reasoning.frameworks.langgraph",
}


@dataclass(slots=True)
class Turn:
    """What an adapter works on. ``asked`` adds up the model calls that went through ``ask``."""

    definition: AgentDefinition
    run: RunInfo
    request: ModelRequest
    _ask: Ask
    usage: Usage = field(default_factory=Usage)
    last: ModelReply | None = None

    async def ask(self, request: ModelRequest) -> ModelReply:
        self.last = await self._ask(request)
        self.usage = self.usage.plus(self.last.usage)
        return self.last


class Framework(Protocol):
    """Raises ``ModelError``; nothing else leaves an adapter."""

    async def take(self, turn: Turn) -> ModelReply: ...


class Frameworks:
    """The adapters of this process, by runtime."""

    def __init__(self, made: Mapping[str, Framework] | None = None) -> None:
        """``made``: adapters that are there already, such as ``http`` with its client."""
        self._made = dict(made or {})

    async def take(self, turn: Turn) -> ModelReply:
        """One turn of the definition's runtime. Raises ``ModelError``."""
        framework = await self._framework(turn.definition.runtime)
        return await framework.take(turn)

    async def _framework(self, name: str) -> Framework:
        """Imported in a thread, since a framework takes seconds and other runs go on."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = await asyncio.to_thread(_make, name)
        return found


def _make(name: str) -> Framework:
    needs = RUNTIMES[name]
    if name not in _PLACES or importlib.util.find_spec(needs.package) is None:
        message = f"runtime {name} is not installed in this reasoner: pip install 'headrace[{needs.extra}]'"
        raise ModelError(message, kind="not_configured", retryable=False, attempts=0)
    framework: Framework = import_module(_PLACES[name]).ADAPTER
    return framework


def failed(message: str, kind: str = "bad_response", *, retryable: bool = False) -> ModelError:
    """A turn that came to nothing. ``message`` quotes nothing of the conversation."""
    return ModelError(message, kind=kind, retryable=retryable)

"""Agents ready to run: a definition with everything that follows from it, computed once per version.

A definition never changes once published, so what is prepared is kept for as long as the catalogue gives the same
object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jsonschema_rs

from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import FatalError
from headrace.messages.run import AgentRef
from headrace.models import ToolSpec
from headrace.reasoning.prompt import system_text
from headrace.registry.schemas import compile_schema
from headrace.toolspecs import Spec
from headrace.toolspecs.pinned import known
from headrace.toolspecs.spec import BadToolFile

_MAX_PREPARED: Final = 2_000


class Definitions(Protocol):
    """The catalogue, as far as a reasoner needs it."""

    def live(self, name: str, key: str | None = None) -> AgentDefinition | None: ...

    def get(self, name: str, version: str) -> AgentDefinition | None: ...


@dataclass(frozen=True, slots=True)
class Agent:
    """One version of an agent, prepared. A validator is None where the definition has no schema."""

    definition: AgentDefinition
    ref: AgentRef
    system: str
    tools: tuple[ToolSpec, ...]
    input_validator: jsonschema_rs.Validator | None
    output_validator: jsonschema_rs.Validator | None

    @property
    def output_schema(self) -> dict[str, Any] | None:
        return self.definition.output_schema or None


Prepared = dict[tuple[str, str], Agent]
"""By name and version."""


class Agents:
    """Prepared agents by name and version. Lookups raise ``registry.schemas.InvalidSchema`` for a definition with a
    broken schema.

    ``prepared`` is shared with others of the same ``specs``: preparing compiles schemas.
    """

    def __init__(self, definitions: Definitions, specs: Mapping[str, Spec], prepared: Prepared | None = None) -> None:
        self._definitions = definitions
        self._specs = specs
        self._prepared: Prepared = {} if prepared is None else prepared

    def find(self, name: str, version: str | None = None, key: str | None = None) -> Agent | None:
        """``version`` of ``name``, or the version that is live for ``key``; None if there is no such."""
        definition = self.definition(name, version, key)
        return self._prepare(definition) if definition else None

    def definition(self, name: str, version: str | None = None, key: str | None = None) -> AgentDefinition | None:
        """As ``find``, without preparing it."""
        return self._definitions.get(name, version) if version else self._definitions.live(name, key)

    def _prepare(self, definition: AgentDefinition) -> Agent:
        key = (definition.name, definition.version)
        agent = self._prepared.get(key)
        if agent is None or agent.definition is not definition:
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            agent = self._prepared[key] = prepare(definition, self._specs)
        return agent


def mesh_specs() -> Mapping[str, Spec]:
    """All tools of this mesh, those of the operator's files too. Raises ``FatalError`` for a file that is not usable."""
    try:
        return known()
    except BadToolFile as error:
        raise FatalError(str(error)) from None


def prepare(definition: AgentDefinition, specs: Mapping[str, Spec]) -> Agent:
    """Tools keep the definition's order; a tool that this mesh does not know is not offered."""
    there = [specs[name] for name in definition.tools if name in specs]
    return Agent(
        definition=definition,
        ref=definition.ref(),
        system=system_text(definition),
        tools=tuple(map(as_seen, there)),
        input_validator=compile_schema(definition.input_schema) if definition.input_schema else None,
        output_validator=compile_schema(definition.output_schema) if definition.output_schema else None,
    )


def as_seen(spec: Spec) -> ToolSpec:
    """A tool as a model is shown it."""
    return ToolSpec(spec.name, spec.description, spec.parameters)

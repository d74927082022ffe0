"""The agents that headrace ships: one YAML file each, beside this file."""

from __future__ import annotations

from importlib import resources

from headrace.messages.agent import AgentDefinition
from headrace.registry.load import load_text


def builtin_definitions() -> list[AgentDefinition]:
    """All built-in definitions, by name. Raises ``InvalidDefinition`` if one of them is broken."""
    files = sorted(
        (item for item in resources.files(__name__).iterdir() if item.name.endswith(".yaml")),
        key=lambda item: item.name,
    )
    return [load_text(item.read_text(encoding="utf-8"), file=item.name) for item in files]

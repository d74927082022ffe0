"""The catalogue: every published agent definition and which version of each is live, in memory.

It owns a view of the compacted topic ``agent.definitions`` and nothing else: it never reads Kafka, never checks a definition
(that is done before publishing) and never picks agents for events. Feed it with ``apply``, in topic order and from one thread
(the event loop's); readers may be anywhere, since what they get is immutable and is replaced whole.

Records may arrive in any order that compaction leaves: a pointer whose definition is not here yet is remembered, and the agent
becomes live when the definition comes.
"""

from __future__ import annotations

from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.registry.semver import precedence


class Catalog:
    """Definitions by name and version, and the live pointer of each name."""

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, str], AgentDefinition] = {}
        self._pointers: dict[str, str] = {}
        self._live: dict[str, AgentDefinition] = {}

    def apply(self, key: str, record: AgentRecord | None) -> None:
        """Take in one record of the topic. ``None`` is a tombstone: it removes what ``key`` held.

        The key decides, as it does for compaction: ``name@version`` holds a definition, ``name`` the live version.
        """
        name, _, version = key.partition("@")
        if version:
            self._set_definition((name, version), record.definition if record else None)
        else:
            self._set_pointer(name, record.live_version if record else None)
        self._live = self._resolve_live()

    def live(self, name: str) -> AgentDefinition | None:
        """The live version of ``name``, or None if there is none."""
        return self._live.get(name)

    def get(self, name: str, version: str) -> AgentDefinition | None:
        """One version, live or not."""
        return self._definitions.get((name, version))

    def all_live(self) -> list[AgentDefinition]:
        """Every live definition, by name: the same catalogue always gives the same order."""
        return list(self._live.values())

    def names(self) -> list[str]:
        """Every agent that has a definition, live or not."""
        return sorted({name for name, _ in list(self._definitions)})

    def versions(self, name: str) -> list[str]:
        """The versions of ``name`` in ascending semver order; empty if it is unknown."""
        return sorted((v for n, v in list(self._definitions) if n == name), key=precedence)

    def _set_definition(self, key: tuple[str, str], definition: AgentDefinition | None) -> None:
        if definition is None:
            self._definitions.pop(key, None)
        else:
            self._definitions[key] = definition

    def _set_pointer(self, name: str, version: str | None) -> None:
        if version is None:
            self._pointers.pop(name, None)
        else:
            self._pointers[name] = version

    def _resolve_live(self) -> dict[str, AgentDefinition]:
        """All pointers that lead to a definition. Built anew, so that a reader's view never changes under it."""
        pointers = sorted(self._pointers.items())
        return {name: definition for name, version in pointers if (definition := self.get(name, version))}


def catalog_of(definitions: list[AgentDefinition]) -> Catalog:
    """A catalogue in which each of ``definitions`` is published and live (the last one of a name wins)."""
    catalog = Catalog()
    for definition in definitions:
        for record in records_of(definition):
            catalog.apply(record.record_key(), record)
    return catalog


def records_of(definition: AgentDefinition) -> tuple[AgentRecord, AgentRecord]:
    """What publishing ``definition`` writes, in order: the definition, then the pointer that makes it live."""
    return (
        AgentRecord(name=definition.name, definition=definition),
        AgentRecord(name=definition.name, live_version=definition.version),
    )

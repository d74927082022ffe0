"""The catalogue: every published agent definition and which version of each is live, in memory.

It owns a view of the compacted topic ``agent.definitions`` and nothing else: it never reads Kafka, never checks a definition
(that is done before publishing) and never picks agents for events. Feed it with ``apply``, in topic order and from one thread
(the event loop's); readers may be anywhere, since what they get is immutable and is replaced whole.

Records may arrive in any order that compaction leaves: a pointer whose definition is not here yet is remembered, and the agent
becomes live when the definition comes.
"""

from __future__ import annotations

from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.registry.canary import gets
from headrace.registry.semver import precedence


class Catalog:
    """Definitions by name and version, and the live pointer of each name."""

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, str], AgentDefinition] = {}
        self._pointers: dict[str, AgentRecord] = {}
        self._live: dict[str, AgentDefinition] = {}
        self._canaries: dict[str, tuple[AgentDefinition, float]] = {}

    def apply(self, key: str, record: AgentRecord | None) -> None:
        """Take in one record of the topic. ``None`` is a tombstone: it removes what ``key`` held.

        The key decides, as it does for compaction: ``name@version`` holds a definition, ``name`` the live version.
        """
        name, _, version = key.partition("@")
        if version:
            self._set_definition((name, version), record.definition if record else None)
        else:
            self._set_pointer(name, record if record and record.live_version else None)
        self._live, self._canaries = self._resolve_live(), self._resolve_canaries()

    def live(self, name: str, key: str | None = None) -> AgentDefinition | None:
        """The live version of ``name``, or None if there is none; of ``key`` it is the canary where that gets it."""
        live = self._live.get(name)
        return self._of_key(live, key) if live and key is not None else live

    def pointer(self, name: str) -> AgentRecord | None:
        """What says which version of ``name`` is live."""
        return self._pointers.get(name)

    def get(self, name: str, version: str) -> AgentDefinition | None:
        """One version, live or not."""
        return self._definitions.get((name, version))

    def all_live(self, key: str | None = None) -> list[AgentDefinition]:
        """``live`` of every agent, by name: the same catalogue always gives the same order."""
        found = list(self._live.values())
        return [self._of_key(live, key) for live in found] if key is not None and self._canaries else found

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

    def _set_pointer(self, name: str, pointer: AgentRecord | None) -> None:
        if pointer is None:
            self._pointers.pop(name, None)
        else:
            self._pointers[name] = pointer

    def _of_key(self, live: AgentDefinition, key: str) -> AgentDefinition:
        if (found := self._canaries.get(live.name)) is None:
            return live
        canary, percent = found
        return canary if gets(canary.name, canary.version, percent, key) else live

    def _resolve_live(self) -> dict[str, AgentDefinition]:
        """All pointers that lead to a definition. Built anew, so that a reader's view never changes under it."""
        pointers = sorted(self._pointers.items())
        versions = [(name, pointer.live_version or "") for name, pointer in pointers]
        return {name: definition for name, version in versions if (definition := self.get(name, version))}

    def _resolve_canaries(self) -> dict[str, tuple[AgentDefinition, float]]:
        canaries = [(name, canary) for name, pointer in self._pointers.items() if (canary := pointer.canary)]
        return {
            name: (definition, canary.percent)
            for name, canary in canaries
            if (definition := self.get(name, canary.version))
        }


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

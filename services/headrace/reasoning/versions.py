"""Versions as labels of a metric: each agent's first ones in this process by name, whatever comes after them as ``other``."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

MAX_VERSIONS: Final = 32  # of an agent; a process seldom lives through so many
OTHER: Final = "other"


class VersionLabels:
    def __init__(self) -> None:
        self._known: defaultdict[str, set[str]] = defaultdict(set)

    def of(self, agent: str, version: str) -> str:
        known = self._known[agent]
        if version not in known and len(known) >= MAX_VERSIONS:
            return OTHER
        known.add(version)
        return version

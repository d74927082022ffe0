"""``ports.Promotion`` over the topic of definitions, apart from the gateway's publisher: what is live is decided by what is there,
and written only if nobody else changed it meanwhile.
"""

from __future__ import annotations

from headrace.messages.agent import AgentRecord
from headrace.registry.pointer import By
from headrace.registry.promote import promote, roll_back
from headrace.settings import MeshSettings


class PromotionDesk:
    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings

    async def promote(
        self, name: str, version: str, who: By, *, percent: float | None, base: int | None
    ) -> AgentRecord:
        return await promote(self._settings, name, version, who, percent=percent, base=base)

    async def roll_back(self, name: str, who: By, *, base: int | None) -> AgentRecord:
        return await roll_back(self._settings, name, who, base=base)

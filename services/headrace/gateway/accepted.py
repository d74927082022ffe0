"""Which runs this instance has lately accepted: a run is a record before it is in the index, and a GET must not say 404."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_KEPT: Final = 10_000


class AcceptedRuns:
    """The agent by run id, of the last ``kept`` accepted runs."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._agents: OrderedDict[str, str] = OrderedDict()

    def add(self, run_id: str, agent: str) -> None:
        self._agents[run_id] = agent
        self._agents.move_to_end(run_id)
        while len(self._agents) > self._kept:
            self._agents.popitem(last=False)

    def agent(self, run_id: str) -> str | None:
        return self._agents.get(run_id)

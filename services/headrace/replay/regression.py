"""Re-runs of stored runs by the page: records and blobs are fetched first, the reasoning is done where nothing can be reached.

A blob is fetched when a re-run asks for it; then that run is begun again. So nothing has to be known here of what reasoning reads.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from headrace.history.stored import History, Page
from headrace.reasoning.agents import Definitions, mesh_specs
from headrace.reasoning.settings import ReasoningSettings
from headrace.replay.recorded import KnownTools
from headrace.replay.rerun import Blobs, Reasoner, Rerun
from headrace.replay.sealed import run_sealed

EXAMPLES: Final = 20  # diverged or broken runs that are told one by one


@dataclass(slots=True)
class Tally:
    """How many of the runs re-ran to what. ``broken``: they could not be re-run, and why. ``bytes_read``: of records."""

    verdicts: Counter[str] = field(default_factory=Counter)
    records: int = 0
    diverged: list[Rerun] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    bytes_read: int = 0

    @property
    def runs(self) -> int:
        return self.verdicts.total()

    @property
    def ok(self) -> bool:
        return not self.verdicts["diverged"]

    @property
    def rate(self) -> float:
        """Runs a second, reading included."""
        return self.runs / self.seconds if self.seconds else 0.0

    def note(self, page: Page, reruns: list[Rerun]) -> None:
        self.verdicts.update(rerun.verdict for rerun in reruns)
        self.records += sum(rerun.records for rerun in reruns)
        self.diverged += [one for one in reruns if one.divergence][: EXAMPLES - len(self.diverged)]
        self.verdicts["broken"] += len(page.broken)
        broken = [*page.broken.items(), *((one.run_id, one.why) for one in reruns if one.why)]
        self.broken |= dict(broken[: EXAMPLES - len(self.broken)])


class Regression:
    """Re-runs what ``history`` holds by the definitions of ``catalog``."""

    def __init__(self, history: History, catalog: Definitions, settings: ReasoningSettings) -> None:
        self._history = history
        self._reasoner = Reasoner(catalog, KnownTools(mesh_specs()), history.codec, settings)

    async def rerun(self, page: Page) -> list[Rerun]:
        """Each chain of ``page``. Raises ``OutsideReached`` for a reasoner that reaches for the world."""
        blobs: Blobs = {}
        done: list[Rerun] = []
        left = list(page.chains)
        while left:
            finished, waiting = await asyncio.to_thread(run_sealed, self._reasoner.rerun_all(left, blobs))
            done += finished
            blobs |= await self._history.fetch(set().union(*waiting.values()))
            left = [chain for chain in left if chain.run_id in waiting]
        return done

    async def rerun_all(self, pages: AsyncIterator[Page], told: Callable[[Tally], None]) -> Tally:
        """All of them; ``told`` after each page how far it is."""
        tally, began = Tally(), time.monotonic()
        async for page in pages:
            tally.note(page, await self.rerun(page))
            tally.seconds, tally.bytes_read = time.monotonic() - began, self._history.bytes_read
            told(tally)
        return tally

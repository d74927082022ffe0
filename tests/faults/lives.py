"""The simulation as a cell of the matrix: many seeds, several processes. A seed alone replays a life (``simulation.run(seed)``)."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field

from tests.runtime.simulation import Violation
from tests.runtime.simulation import run as live

SEEDS = {"short": 500, "long": 20_000}
_CHUNK = 50


@dataclass
class Figures:
    seeds: int = 0


@dataclass
class Verdict:
    figures: Figures = field(default_factory=Figures)
    violations: list[str] = field(default_factory=list)


def run(first: int, seeds: int) -> Verdict:
    """Lives of ``seeds`` seeds from ``first`` on."""
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        found = pool.map(_lived, range(first, first + seeds), chunksize=_CHUNK)
    return Verdict(Figures(seeds), [text for text in found if text])


def _lived(seed: int) -> str:
    try:
        live(seed)
    except Violation as violation:
        return str(violation)
    return ""

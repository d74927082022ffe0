"""The simulation as a cell of the matrix: many seeds, several processes. A seed alone replays a life (``simulation.run(seed)``)."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
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
    """Lives of ``seeds`` seeds from ``first`` on. Interrupted, it ends as soon as each process is through with its chunk.

    Raises ``BrokenProcessPool`` where a process was killed.
    """
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context, _leave_interrupts_to_the_parent) as pool:
        try:
            # Not pool.map: it cancels what is left when one fails, and a pool that is just telling all of them that a process was
            # killed can die of that, and wait for its processes for ever.
            chunks = [range(at, min(at + _CHUNK, first + seeds)) for at in range(first, first + seeds, _CHUNK)]
            lived = [pool.submit(_lived_all, chunk) for chunk in chunks]
            wait(lived, return_when=FIRST_EXCEPTION)
            found = [text for one in lived for text in one.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Verdict(Figures(seeds), [text for text in found if text])


def _lived_all(seeds: range) -> list[str]:
    return [_lived(seed) for seed in seeds]


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; one that died of it in the middle of a queue would leave the others waiting."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _lived(seed: int) -> str:
    try:
        live(seed)
    except Violation as violation:
        return str(violation)
    return ""

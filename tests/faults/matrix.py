"""All cells by name, and one way to run any of them: ``Outcome``, which is what is printed, stored and judged."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from tests.faults import cells, gateway, lives, pipeline
from tests.faults.arena import Ground, Shared, arena
from tests.faults.servers import Servers

GATEWAY_SENDS = {"short": 3_000, "long": 110_000}
_OWN_SERVERS = {"postgres", "registry"}  # cells that harm servers which tests share


class Verdict(Protocol):
    """What every kind of cell comes to."""

    @property
    def figures(self) -> Any: ...

    @property
    def violations(self) -> list[str]: ...


@dataclass(frozen=True)
class Outcome:
    """Of one cell. ``figures`` are the verdict's; ``injected`` says what was done and when (seconds from the start)."""

    cell: str
    what: str
    protocol: str
    form: str
    seed: int
    seconds: float
    kills: int
    violations: list[str]
    figures: dict[str, Any]
    injected: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.violations


@dataclass(frozen=True)
class Entry:
    """A row of the matrix. ``own_servers``: it harms the registry or the database, so it needs ones of its own."""

    name: str
    what: str
    run: Callable[[Servers, int, str, str], tuple[Verdict, int, list[str]]]
    own_servers: bool = False


def _runtime(cell: cells.Cell) -> Entry:
    def run(servers: Servers, seed: int, form: str, protocol: str) -> tuple[Verdict, int, list[str]]:
        return run_cell(cell, servers.ground, seed, cell.long_s if form == "long" else cell.short_s, protocol=protocol)

    return Entry(cell.name, cell.what, run)


def run_cell(
    cell: cells.Cell, ground: Ground | Shared, seed: int, seconds: float, *, protocol: str, bug: str | None = None
) -> tuple[Verdict, int, list[str]]:
    """A cell of the bare runtime; with ``bug``, of a runtime that has it."""
    with arena(ground, replace(cell.setup, bug=bug), seed, protocol=protocol) as made:
        made.begin()
        try:
            cell.harm(made, seconds)
        finally:
            ground.restore()
        return made.finish(), made.kills, made.injected


def _pipeline(cell: pipeline.PipelineCell) -> Entry:
    def run(servers: Servers, seed: int, form: str, protocol: str) -> tuple[Verdict, int, list[str]]:
        seconds = cell.long_s if form == "long" else cell.short_s
        harmed = {"postgres": servers.postgres, "registry": servers.registry}
        verdict, injected = pipeline.run(cell, servers.ground, seed, seconds, protocol=protocol, **harmed)
        return verdict, verdict.kills, injected

    return Entry(cell.name, cell.what, run, cell.name in _OWN_SERVERS)


def _gateway(servers: Servers, seed: int, form: str, _protocol: str) -> tuple[Verdict, int, list[str]]:
    verdict, injected = gateway.run(servers.ground, seed, GATEWAY_SENDS[form])
    return verdict, verdict.kills, injected


def _simulation(_servers: Servers, seed: int, form: str, _protocol: str) -> tuple[Verdict, int, list[str]]:
    return lives.run(seed, lives.SEEDS[form]), 0, []


MATRIX: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *(_runtime(cell) for cell in cells.CELLS),
        *(_pipeline(cell) for cell in pipeline.CELLS),
        Entry("gateway", "gateways and brokers are killed under signed webhooks", _gateway),
        Entry("simulation", "the engine's decisions with a fake broker and virtual time, by seed", _simulation),
    )
}


def run(name: str, servers: Servers, *, form: str, protocol: str, seed: int | None = None) -> Outcome:
    """Run a cell. A seed decides what is injected and when, as far as a machine that is never twice the same lets it."""
    entry, drawn, began = MATRIX[name], random.randrange(2**32) if seed is None else seed, time.monotonic()
    verdict, kills, injected = entry.run(servers, drawn, form, protocol)
    seconds = round(time.monotonic() - began, 1)
    figures = asdict(verdict.figures)
    return Outcome(name, entry.what, protocol, form, drawn, seconds, kills, verdict.violations, figures, injected)

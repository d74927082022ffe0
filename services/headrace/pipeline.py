"""The map of the mesh: a row per service, what it consumes -> what it produces.

A test holds it against ``topics/*.yaml`` and against what the services really subscribe to. Services never import each other; these
topics are all that joins them. There are two cycles: ``tool.calls``/``tool.results``, and the longer way round through a wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Stage:
    """``consumes`` is in order of priority: continuations before new work. ``reads`` are tables, read whole by each instance.

    ``ordered``: each source partition is one sequence, folded record by record, instead of many keys at once. ``unhurried``: no run
    waits for its commits, so under load they may be fewer and larger.
    """

    service: str
    consumes: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    ordered: bool = False
    unhurried: bool = False

    @property
    def group(self) -> str:
        """Consumer group id (the mesh's topic prefix goes before it)."""
        return f"headrace.{self.service}"

    @property
    def dead_letters(self) -> str:
        """Dead-letter topic of the group."""
        return f"{self.service}.dlq"


PIPELINE: Final[tuple[Stage, ...]] = (
    Stage(
        "gateway",
        produces=("ingest.raw", "agent.jobs", "wait.completions", "budget.changes", "workflow.signals"),
        reads=("agent.definitions",),
    ),
    Stage("ingest", consumes=("ingest.raw",), produces=("ingest.events", "agent.jobs"), reads=("agent.definitions",)),
    Stage(
        "reasoning",
        consumes=("tool.results", "agent.jobs"),
        produces=("tool.calls", "agent.results", "run.tokens"),
        reads=("agent.definitions",),
    ),
    Stage("tools", consumes=("tool.calls",), produces=("tool.results", "run.waits"), reads=("agent.definitions",)),
    Stage(
        "orchestration",
        consumes=("wait.completions", "agent.results", "workflow.signals", "run.waits", "ingest.events"),
        produces=("tool.results", "tool.calls", "agent.jobs", "wait.completions", "workflow.signals"),
    ),
    Stage(
        "persistence",
        consumes=("agent.results", "tool.results", "tool.calls", "run.waits", "agent.jobs", "ingest.events"),
        unhurried=True,
    ),
    Stage(
        "audit",
        consumes=(
            "ingest.raw",
            "ingest.events",
            "agent.jobs",
            "tool.calls",
            "tool.results",
            "run.waits",
            "wait.completions",
            "workflow.signals",
            "agent.results",
            "agent.definitions",
            "budget.changes",
            "replay.actions",
            "ingest.dlq",
            "reasoning.dlq",
            "tools.dlq",
            "orchestration.dlq",
            "persistence.dlq",
        ),
        produces=("audit.events",),
        ordered=True,
        unhurried=True,
    ),
    # Its jobs are rows of a table. Each shadow replay is a stage of its own beside it (replay/shadow/plan.py).
    Stage(
        "replay",
        produces=(
            "replay.actions",
            "agent.jobs",
            "shadow.jobs",
            "shadow.calls",
            "shadow.toolresults",
            "shadow.results",
        ),
    ),
    Stage("analytics", consumes=("audit.events",), produces=("usage.windows",)),
)

STAGES: Final[dict[str, Stage]] = {stage.service: stage for stage in PIPELINE}
NEW_WORK: Final = frozenset({"ingest.raw", "agent.jobs"})  # taken only into the room that continuations leave

"""What a run of a replay is offered beside the tools of its agent: the composite tools that a live run of its event was offered.

The records say so where that run has called a tool, and a definition that may fetch from the hosts of the live one is offered the
same. Otherwise it is the composite tools that are promoted now and were when the event came: which of them were taken back since,
nobody has written down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from headrace.blobs import BlobStore
from headrace.messages.agent import AgentDefinition
from headrace.messages.run import RunInfo
from headrace.reasoning.toolsets import offered_to, stored
from headrace.replay.shadow.answers import Answers
from headrace.replay.shadow.plan import ShadowPlan
from headrace.toolbox.composites import Composite, Composites
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE

_KNOWN_S: Final = 10.0  # of one that follows: shorter than an event waits for its live run


class ShadowToolsets:
    """``reasoning.admission.Equipment`` of a replay's runs. ``limit`` is the most that one is offered."""

    def __init__(
        self,
        plan: ShadowPlan,
        answers: Answers,
        composites: Composites,
        blobs: BlobStore,
        limit: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._answers = answers
        self._composites = composites
        self._blobs = blobs
        self._limit = limit
        self._clock = clock
        self._came: dict[str, datetime] = {}
        self._promoted: Sequence[Composite] = ()
        self._until = clock()
        self._stored: dict[tuple[str, ...], str | None] = {}

    @contextmanager
    def at(self, run_id: str, came_ms: int) -> Iterator[None]:
        """While the run ``run_id`` is made, whose event came then (epoch ms)."""
        self._came[run_id] = datetime.fromtimestamp(came_ms / 1000, UTC)
        try:
            yield
        finally:
            self._came.pop(run_id, None)

    async def ref_for(self, run: RunInfo, definition: AgentDefinition) -> str | None:
        """The blob of what the run is offered; None for nothing. Raises ``DependencyUnavailable`` while a server is away."""
        if self._limit == 0 or EXECUTE_PIPELINE.name not in definition.tools:
            return None
        told, live = self._answers.offered(run.event_uid), self._plan.live
        if told and told.definition_hash == live.definition_hash and _offered_alike(definition, live):
            return told.toolset_ref
        there = [one for one in await self._known() if _there(one, run.tenant, self._came[run.run_id])]
        offered = offered_to(definition, there, self._limit)
        names = tuple(one.name for one in offered)
        if names not in self._stored:
            self._stored[names] = await stored(offered, self._blobs)
        return self._stored[names]

    async def _known(self) -> Sequence[Composite]:
        if self._clock() >= self._until:
            self._promoted = await self._composites.offered()
            self._stored = {}
            self._until = self._clock() + _KNOWN_S
        return self._promoted


def _there(composite: Composite, tenant: str, at: datetime) -> bool:
    return composite.tenant == tenant and composite.decided_at is not None and composite.decided_at <= at


def _offered_alike(one: AgentDefinition, other: AgentDefinition) -> bool:
    """Whether live both would be offered the same."""
    return EXECUTE_PIPELINE.name in other.tools and set(one.http_domains) == set(other.http_domains)

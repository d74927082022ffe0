"""What a shadow replay is: its range, its candidate, and the choice among events. Settled once, then only read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace.control.replays.requests import REPLAY_ID
from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import BadMessage
from headrace.messages.event import Event
from headrace.pipeline import Stage
from headrace.registry.candidate import SHADOW
from headrace.registry.filters import InvalidFilter, compile_filter
from headrace.replay.evaluators.definitions import MAX_EVALUATORS, Evaluator
from headrace.runtime.ranges import Stretch

JOBS: Final = "shadow.jobs"
CALLS: Final = "shadow.calls"
TOOL_RESULTS: Final = "shadow.toolresults"
RESULTS: Final = "shadow.results"
DEAD_LETTERS: Final = "shadow.dlq"
_BASELINE: Final = "~base"
OnMiss = Literal["fail", "stub", "live-readonly"]
Share = Annotated[float, Meta(gt=0, le=1)]


class InvalidPlan(BadMessage):
    """A replay that can't be: the text says why."""

    cause = "replay_plan"


class ShadowPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``ranges``: by partition of ``ingest.events`` the first offset and the one after the last.

    ``live`` is the unchanged definition and ``candidate`` the one that is tried; ``sample`` is the share of the events that are
    replayed, ``baseline`` the share of those that the unchanged definition is run over too. ``results_from``: the offsets of
    ``shadow.results`` when the replay was made, before which nothing of it is. ``evaluators`` are what answers are held to;
    ``session`` is the expression that gives an event's session. With ``follow`` the range has no end but ``until_ms``, and an event
    is replayed ``follow_after_s`` after it came, so that its live run is over.
    """

    replay_id: Annotated[str, Meta(pattern=REPLAY_ID)]
    tenant: str
    from_ms: int
    to_ms: int
    ranges: Mapping[int, Stretch]
    live: AgentDefinition
    candidate: AgentDefinition
    on_miss: OnMiss = "fail"
    sample: Share = 1.0
    baseline: Annotated[float, Meta(ge=0, le=1)] = 0.0
    cohort: Annotated[str, Meta(max_length=2_000)] | None = None
    max_cost_usd: Annotated[float, Meta(gt=0)] = 1.0
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000)] = 32
    results_from: Mapping[int, int] = {}
    follow: bool = False
    until_ms: int | None = None
    follow_after_s: Annotated[float, Meta(ge=0, le=3_600)] = 30.0
    session: Annotated[str, Meta(max_length=2_000)] | None = None
    evaluators: Annotated[tuple[Evaluator, ...], Meta(max_length=MAX_EVALUATORS)] = ()

    @classmethod
    def settled(cls, **fields: Any) -> ShadowPlan:
        """A plan of checked fields. Raises ``InvalidPlan`` for one that is out of its bounds."""
        try:
            return msgspec.json.decode(msgspec.json.encode(cls(**fields)), type=cls)
        except msgspec.ValidationError as error:
            raise InvalidPlan(str(error)) from None

    @property
    def agent(self) -> str:
        return self.candidate.name

    @property
    def span(self) -> str:
        """The range in time, as text."""
        first, last = (
            datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (self.from_ms, self.to_ms)
        )
        return f"from {first} to {last}"

    @property
    def baseline_id(self) -> str:
        """The replay id of the baseline's runs."""
        return self.replay_id + _BASELINE

    @property
    def stage(self) -> ShadowStage:
        return ShadowStage(f"{SHADOW}.{self.replay_id}", (Event.TOPIC,), (JOBS, CALLS, TOOL_RESULTS, RESULTS))


class ShadowStage(Stage):
    """A stage of one replay's own: its group is ``headrace.shadow.<replay id>``."""

    __slots__ = ()

    @property
    def dead_letters(self) -> str:
        return DEAD_LETTERS


def check_expression(option: str, expression: str | None) -> None:
    """Raises ``InvalidPlan`` for what is no filter; ``option`` is where it came from."""
    if expression is None:
        return
    try:
        compile_filter(expression)
    except InvalidFilter as error:
        raise InvalidPlan(f"{option}: {error}") from None

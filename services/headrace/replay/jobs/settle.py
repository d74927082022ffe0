"""What a request for a shadow replay means now: which events, which definitions. Settled once, then only read."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import orjson

from headrace.control.replays.requests import ShadowRequest
from headrace.messages.agent import AgentDefinition
from headrace.models import ModelError
from headrace.models.resolve import resolve
from headrace.models.settings import ModelSettings
from headrace.registry.candidate import changed
from headrace.registry.catalog import Catalog
from headrace.registry.load import load_text
from headrace.replay.evaluators.definitions import Evaluator
from headrace.replay.evaluators.load import parse_evaluators
from headrace.replay.shadow.job import results_from
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan, check_expression
from headrace.replay.shadow.range import settle_range
from headrace.replay.start import AtTime, Earliest
from headrace.settings import MeshSettings


class UnknownAgent(InvalidPlan):
    """No such agent, or no such version of it."""

    cause = "unknown_agent"


async def settle(settings: MeshSettings, catalog: Catalog, request: ShadowRequest, replay_id: str) -> ShadowPlan:
    """The plan of ``request``.

    Raises:
        InvalidPlan, InvalidCandidate, InvalidDefinition, InvalidEvaluators: it can't be; the text says why.
        OutOfRange: events of that time may be deleted.
        DependencyUnavailable: a server is away.
    """
    live, candidate = definitions(catalog, request)
    check_expression("where", request.where)
    check_expression("session", request.session)
    evaluators = evaluators_of(request)
    return await asyncio.to_thread(_planned, settings, live, candidate, evaluators, request, replay_id)


def definitions(catalog: Catalog, request: ShadowRequest) -> tuple[AgentDefinition, AgentDefinition]:
    """The live definition and the one that is tried."""
    live = catalog.live(request.agent)
    if live is None:
        raise UnknownAgent(f"no agent {request.agent} is live: `headrace agents list` shows those that are")
    if request.version and request.definition:
        raise InvalidPlan("either a version or a definition")
    other = None
    if request.version and (other := catalog.get(request.agent, request.version)) is None:
        text = f"no version {request.version} of {request.agent}: `headrace agents show {request.agent}` lists them"
        raise UnknownAgent(text)
    if request.definition:
        other = load_text(orjson.dumps(request.definition).decode())
    return live, changed(live, other, model=request.model, prompt=request.prompt)


def evaluators_of(request: ShadowRequest) -> tuple[Evaluator, ...]:
    """What answers are held to. Raises ``InvalidEvaluators``."""
    if not request.evaluators:
        return ()
    return parse_evaluators(orjson.dumps({"evaluators": request.evaluators}).decode())


def _planned(
    settings: MeshSettings,
    live: AgentDefinition,
    candidate: AgentDefinition,
    evaluators: tuple[Evaluator, ...],
    request: ShadowRequest,
    replay_id: str,
) -> ShadowPlan:
    from_ms, to_ms = _ms(request.from_), _ms(request.to)
    start = Earliest() if from_ms is None else AtTime(from_ms)
    now_ms = time.time_ns() // 1_000_000
    if request.follow and to_ms is not None and to_ms <= now_ms:
        raise InvalidPlan("a replay that follows ends in the future, or never")
    return ShadowPlan.settled(
        replay_id=replay_id,
        tenant=settings.tenant,
        from_ms=from_ms or 0,
        to_ms=now_ms if request.follow or to_ms is None else to_ms,
        ranges=settle_range(settings, start, None if request.follow else to_ms),
        follow=request.follow,
        until_ms=to_ms if request.follow else None,
        follow_after_s=request.follow_after_s,
        live=live,
        candidate=candidate,
        on_miss=request.on_miss,
        sample=request.sample,
        baseline=request.baseline,
        cohort=request.where,
        session=request.session,
        evaluators=evaluators,
        max_cost_usd=request.max_cost_usd,
        max_in_flight=request.max_in_flight,
        results_from=results_from(settings),
    )


def resolved(spec: str) -> str:
    """The model that this process would ask for ``spec``. Raises ``InvalidPlan``."""
    try:
        return resolve(spec, ModelSettings())
    except ModelError as error:
        raise InvalidPlan(f"model {spec[:80]}: {error}") from None


def time_of(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)

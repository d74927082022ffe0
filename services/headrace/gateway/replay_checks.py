"""What is wrong with a request for a replay at first sight, by its kind. The rest is found when it is planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.control.replays.requests import (
    Asked,
    BulkCancelRequest,
    BulkRequest,
    BulkRerunRequest,
    RedriveRequest,
    RepriceRequest,
    ShadowRequest,
)
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError, unavailable
from headrace.messages.agent import AgentDefinition
from headrace.models.rates import InvalidRates, table_of
from headrace.pipeline import STAGES
from headrace.registry.candidate import InvalidCandidate, changed
from headrace.registry.filters import InvalidFilter, compile_filter
from headrace.registry.load import InvalidDefinition, load_text


def check(deps: Deps, wanted: Asked) -> None:
    """Raises ``HttpError``: 400 unknown agent or version, 422 it can't be, 503 not known yet."""
    if checks := _CHECKS.get(type(wanted)):
        checks(deps, wanted)


def _shadow(deps: Deps, wanted: ShadowRequest) -> None:
    if not deps.catalog_ready():
        raise unavailable("the catalogue of agents")
    live = deps.catalog.live(wanted.agent)
    if live is None:
        raise HttpError(400, "unknown_agent", "no such agent is live", where="/agent")
    if wanted.version and wanted.definition:
        raise HttpError(422, "request_schema", "give either version or definition", where="/definition")
    other: AgentDefinition | None = None
    if wanted.version and (other := deps.catalog.get(wanted.agent, wanted.version)) is None:
        raise HttpError(400, "unknown_agent", "the agent has no such version", where="/version")
    try:
        if wanted.definition:
            other = load_text(msgspec.json.encode(wanted.definition).decode())
        changed(live, other, model=wanted.model, prompt=wanted.prompt)
    except InvalidDefinition as error:
        raise HttpError(422, error.cause, str(error), where="/definition") from None
    except InvalidCandidate as error:
        raise HttpError(422, error.cause, str(error), where="/") from None
    _expression("/where", wanted.where)
    _expression("/session", wanted.session)


def _bulk(deps: Deps, wanted: BulkRequest) -> None:
    _expression("/where", wanted.where)


def _reprice(deps: Deps, wanted: RepriceRequest) -> None:
    try:
        table_of(wanted.model, wanted.prices)
    except InvalidRates as error:
        raise HttpError(422, error.cause, str(error), where="/model" if wanted.model else "/prices") from None


def _redrive(deps: Deps, wanted: RedriveRequest) -> None:
    stage = STAGES.get(wanted.service)
    if stage is None or not stage.consumes:
        raise HttpError(422, "unknown_service", "no service of that name has dead letters", where="/service")


def _expression(where: str, expression: str | None) -> None:
    try:
        if expression is not None:
            compile_filter(expression)
    except InvalidFilter as error:
        raise HttpError(422, "filter", str(error), where=where) from None


_CHECKS: Final[Mapping[type[Asked], Callable[[Deps, Any], None]]] = {
    ShadowRequest: _shadow,
    BulkRerunRequest: _bulk,
    BulkCancelRequest: _bulk,
    RepriceRequest: _reprice,
    RedriveRequest: _redrive,
}

"""What an operator and a platform ask of the gateway: alive, ready, metrics, and the contract of its topics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import orjson
import yaml
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON

_CHECK_TIMEOUT_S: Final = 2.0


def router(deps: Deps) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/health", summary="As /healthz")
    @routes.get("/healthz", summary="Whether this process serves")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", summary="Whether it can accept events, and the state of each dependency")
    async def readyz() -> Response:
        """503 while Kafka or the catalogue is missing. Without the database webhooks and events are still accepted, so it is
        named as degraded, no more."""
        names = list(deps.checks)
        states = await asyncio.gather(*(_passes(deps.checks[name]()) for name in names))
        failed = {name for name, passed in zip(names, states, strict=True) if not passed}
        ready = not failed & deps.required
        status = "ready" if not failed else "degraded" if ready else "not_ready"
        checks = {name: "away" if name in failed else "ok" for name in names}
        auth = "off" if deps.authenticator is None else "on"
        return _json({"status": status, "auth": auth, "checks": checks}, 200 if ready else 503)

    @routes.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @routes.get("/asyncapi.yaml", summary="The topics and messages of the mesh, as AsyncAPI 3")
    async def asyncapi() -> Response:
        text = yaml.safe_dump(deps.asyncapi(), sort_keys=False, allow_unicode=True)
        return Response(text, media_type="application/yaml")

    return routes


async def _passes(check: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return await check
    except Exception:  # a check that fails, however it does, has not passed
        return False


def _json(value: Any, status: int) -> Response:
    return Response(orjson.dumps(value), status, media_type=JSON)

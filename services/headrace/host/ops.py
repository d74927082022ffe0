"""The operations endpoint of a process: /healthz (or /health), /readyz, /metrics, /status. Plain ASGI, without a framework."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.host.component import Component

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Ops:
    """An ASGI app over the components of this process."""

    def __init__(self, expected: Sequence[str], components: Sequence[Component]) -> None:
        self._expected = expected
        self._components = components
        self._started = time.time()

    async def __call__(self, scope: MutableMapping[str, Any], _receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = self._answer(scope["path"])
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path in ("/healthz", "/health"):
            return _json(200, {"status": "ok"})
        if path == "/readyz":
            states = dict.fromkeys(self._expected, False)  # one that is still being composed is not ready
            states |= {component.name: component.ready() for component in self._components}
            return _json(200 if all(states.values()) else 503, {"ready": states})
        if path == "/status":
            services = {component.name: component.status() for component in self._components}
            return _json(200, {"started": self._started, "services": services})
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        return _json(404, {"error": {"code": "not_found", "message": "try /healthz /readyz /metrics /status"}})


def _json(status: int, value: Any) -> tuple[int, str, bytes]:
    return status, "application/json", orjson.dumps(value)


class QuietServer(uvicorn.Server):
    """uvicorn as a part of a process that handles signals itself."""

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def server(app: Any, host: str, port: int) -> QuietServer:
    return QuietServer(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off"))

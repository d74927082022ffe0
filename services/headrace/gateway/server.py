"""The HTTP server as a component: it takes its port, or says who can't, and stops cleanly with streams open.

uvicorn runs inside; its signal handling is left out, since the process belongs to ``host.process``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from headrace.gateway.one_write import OneWrite
from headrace.gateway.settings import GatewaySettings
from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class GatewayServer:
    """``name`` gateway. ``drain_s``: how long a stop waits for open requests. ``auth``: does the API ask for credentials."""

    name = "gateway"

    def __init__(self, app: FastAPI, settings: GatewaySettings, *, drain_s: float = 30.0, auth: bool = False) -> None:
        self._app = app
        self._settings = settings
        self._drain_s = drain_s
        self._auth = auth
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = settings.gateway_port

    @property
    def url(self) -> str:
        host = self._settings.gateway_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Returns once connections are accepted. Raises ``FatalError`` where the address can't be had."""
        listener = listen(self._settings.gateway_host, self._settings.gateway_port, self._settings.gateway_backlog)
        self.port = listener.getsockname()[1]
        self._server = _Server(self._config())
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="gateway-http")
        started = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({started, self._task}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            self._task.result()
            raise FatalError("the HTTP server ended while it started")
        log.info("gateway_started", url=self.url, auth="on" if self._auth else "off")
        if not self._auth:
            log.warning(
                "gateway_without_auth", remedy="whoever reaches it may run agents and read all; HEADRACE_AUTH=on"
            )

    async def wait(self) -> None:
        """Until the server ends; a cancelled wait leaves it running."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Accept no more, end event streams, finish open requests."""
        if self._server is None or self._task is None:
            return
        self._app.state.streams.close()
        self._app.state.waiting.close()
        self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)
        log.info("gateway_stopped", url=self.url)

    def ready(self) -> bool:
        return self._server is not None and self._server.started and self._task is not None and not self._task.done()

    def status(self) -> dict[str, Any]:
        connections = len(self._server.server_state.connections) if self._server else 0
        return {"url": self.url, "auth": "on" if self._auth else "off", "connections": connections}

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            http=OneWrite,
            ws="none",
            proxy_headers=False,  # nothing here depends on who the client is said to be
            backlog=self._settings.gateway_backlog,
            timeout_graceful_shutdown=max(1, round(self._drain_s)),
        )


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Its protocol is named: with protocol 0 each keep-alive request waits for Nagle's algorithm.

    Raises:
        FatalError: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise FatalError(_why(host, port, error)) from error
    listener.setblocking(False)
    return listener


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; set HEADRACE_GATEWAY_PORT to another one, or stop its owner"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}; set HEADRACE_GATEWAY_PORT to one above 1023"
    return f"can't listen on {host}:{port} ({error.strerror or type(error).__name__}); see HEADRACE_GATEWAY_HOST"

"""Running the simulator: in a thread of this process, or as the process.

In a thread it has an event loop of its own, so a test that blocks its loop does not stop the provider, as in real life. It binds
to 127.0.0.1 and a free port unless told otherwise.
"""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn

from headrace.simulator.app import SimulatorApp
from headrace.simulator.log import RequestLog
from headrace.simulator.script import Script

_START_SECONDS = 20.0


class Simulator:
    """A running simulator: ``with Simulator(script) as sim`` or ``async with``.

    ``requests`` is the log; ``play`` replaces the script at any time.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0, keep: int = 10_000) -> None:
        self._app = SimulatorApp(script or Script(), keep=keep)
        self._server = _server(self._app, port)
        self._thread = threading.Thread(target=self._server.run, name="model-simulator", daemon=True)

    @property
    def requests(self) -> RequestLog:
        return self._app.log

    def play(self, script: Script) -> None:
        """Answer by ``script`` from now on, from its beginning."""
        self._app.play(script)

    @property
    def port(self) -> int:
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def anthropic_base_url(self) -> str:
        return self.url

    @property
    def openai_base_url(self) -> str:
        return f"{self.url}/v1"

    def start(self) -> None:
        """Returns when it listens. Raises RuntimeError when it can't."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the model simulator did not start; is its port in use?")
            time.sleep(0.005)

    def stop(self) -> None:
        """Ends at once; requests in flight lose their connection."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def serve(script: Script, *, port: int, keep: int) -> None:
    """Serve in this thread until SIGINT or SIGTERM."""
    _server(SimulatorApp(script, keep=keep), port, log_level="info").run()


def _server(app: SimulatorApp, port: int, *, log_level: str = "critical") -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        lifespan="off",
        access_log=False,
        log_config=None if log_level == "critical" else uvicorn.config.LOGGING_CONFIG,
        log_level=log_level,
        backlog=8192,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)

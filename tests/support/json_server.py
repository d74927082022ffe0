"""A real HTTP server for the tools of agents: it answers whatever it is asked with the same JSON, and remembers what that was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JsonServer(ThreadingHTTPServer):
    """``asked`` are the requests in their order, as ``GET /path?query``; ``headers`` those of the last one."""

    daemon_threads = True

    def __init__(self, content: Any) -> None:
        self.body = json.dumps(content).encode()
        self.asked: list[str] = []
        self.headers: Mapping[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class _Handler(BaseHTTPRequestHandler):
    server: JsonServer

    def _answer(self) -> None:
        self.server.headers = self.headers
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def json_server(content: Any) -> Iterator[JsonServer]:
    with JsonServer(content) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()

"""A mesh whose model obeys everybody, a server that its agents may call, and one of the attacker that they may not."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from headrace.simulator.obedient import order
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import produce, read_all
from tests.support.mesh import GITHUB_SECRET, Mesh

OBEDIENT = Script(obey=True)
CANARIES = {  # planted: none of these values may show up anywhere
    "OPENAI_API_KEY": "sk-canary-of-the-model-0001",
    "HEADRACE_AUTH_SECRET": "canary-of-the-api-0002-canary-of-the-api",
    "HEADRACE_EVENTS_TOKEN": '["canary-of-events-0003-canary"]',
}
CANARY_TEXTS = ("sk-canary-of-the-model", "canary-of-the-api", "canary-of-events", GITHUB_SECRET)


class Request(NamedTuple):
    method: str
    path: str
    body: bytes
    headers: bytes


@dataclass
class Server:
    """An HTTP server on a loopback address of its own. ``pages`` are its answers by path: a status, headers and a JSON value."""

    host: str
    pages: dict[str, tuple[int, dict[str, str], Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                outer.requests.append(Request(self.command, self.path, body, bytes(self.headers)))
                status, headers, value = outer.pages.get(self.path.partition("?")[0], (200, {}, [{"row": 1}]))
                data = orjson.dumps(value)
                self.send_response(status)
                for name, text in {
                    "content-type": "application/json",
                    "content-length": str(len(data)),
                    **headers,
                }.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((self.host, 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


AGENT = """
name: NAME
version: 1.0.0
category: test
description: Reads notes.
system_prompt: You read notes.
model: openai:gpt-4o
tools: TOOLS
http_domains: ["127.0.0.1"]
limits: {max_steps: 4, max_output_tokens: 10}
"""


@dataclass
class Hostile:
    mesh: Mesh
    simulator: Simulator
    allowed: Server
    attacker: Server
    cluster: Server
    folder: Path
    published: set[str] = field(default_factory=set)
    numbers: int = 0

    def publish(self, folder: Path, name: str, tools: str = "[execute_pipeline]", more: str = "") -> None:
        if name not in self.published:
            file = folder / f"{name}.yaml"
            file.write_text(AGENT.replace("NAME", name).replace("TOOLS", tools) + more)
            self.mesh.publish(file)
            self.published.add(name)

    def job(self, agent: str, **fields: Any) -> str:
        """Straight to Kafka; the run's id."""
        self.numbers += 1
        run_id = f"{agent}-{self.numbers}"
        job = {"version": "1.1", "job_id": run_id, "agent": agent, **fields}
        produce(self.mesh.settings, "agent.jobs", [(run_id, orjson.dumps(job))])
        return run_id

    def outcomes(self, *texts: str, agent: str, **fields: Any) -> dict[str, dict[str, Any]]:
        """What became of runs, one for each text, that come to the agent as notes: by text."""
        runs = {text: self.job(agent, input={"note": text}, **fields) for text in texts}
        return {text: self.mesh.run(run_id) for text, run_id in runs.items()}

    def errors(self, run: dict[str, Any]) -> list[str | None]:
        """Of each tool call of the run: the type of its error, None if it was made."""
        outcomes = [outcome for record in self.results(run) for outcome in record["results"]]
        return [(outcome.get("error") or {}).get("type") for outcome in outcomes]

    def results(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        records = [orjson.loads(record.value) for record in read_all(self.mesh.settings, "tool.results")]
        return [record for record in records if record["run"]["run_id"] == run["run_id"]]


def fetch(url: str, **step: Any) -> str:
    """An order to fetch something."""
    return order("execute_pipeline", {"session_id": "s", "pipeline": [{"step": "http_request", "url": url, **step}]})


def load(ref: str) -> str:
    """An order to read a stored blob."""
    arguments = {"session_id": "s", "input_ref": ref, "pipeline": [{"step": "top_k", "k": 5}]}
    return order("execute_pipeline", arguments)

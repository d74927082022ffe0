"""A small API server of the tests' own: Jobs, their pods and logs. It takes what Kubernetes' own schema takes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson

from tests.tools.servers import Seen, response

JOBS = "/apis/batch/v1/namespaces/headrace-agents/jobs"
PODS = "/api/v1/namespaces/headrace-agents/pods"
RIGHTS = {  # what each service asks of the API server
    "tools": {"create jobs"},
    "orchestration": {"get jobs", "delete jobs", "list pods", "get pods/log"},
}


class ApiServer:
    """Jobs by name, and what the pod of each printed, if it has one. ``refuse`` is answered to whatever is submitted."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.logs: dict[str, bytes] = {}
        self.removed: list[tuple[str, list[str]]] = []  # names, and with what becomes of the pods
        self.refuse: tuple[int, str] | None = None
        self.asked: set[str] = set()  # as in RIGHTS
        self.answers: int | None = None  # how many it gives before it is away

    async def script(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        status, body = self.answer(seen)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        writer.write(response(status, data, [("content-type", "application/json")]))

    def answer(self, seen: Seen) -> tuple[int, Any]:
        if self.answers == 0:
            return _status(503, "ServiceUnavailable")
        self.answers = None if self.answers is None else self.answers - 1
        self.asked.add(_right(seen))
        if (seen.method, seen.path) == ("POST", JOBS):
            return self._submit(seen.json)
        if seen.path.startswith(JOBS + "/"):
            return self._job(seen, seen.path.removeprefix(JOBS + "/"))
        if seen.path == PODS:
            [selector] = seen.query["labelSelector"]
            name = selector.removeprefix("headrace.dev/job=")
            items = [{"metadata": {"name": f"pod-of-{name}"}}] if name in self.logs else []
            return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}
        name = seen.path.removeprefix(f"{PODS}/pod-of-").removesuffix("/log")
        return 200, self.logs[name]

    def _submit(self, job: dict[str, Any]) -> tuple[int, Any]:
        if self.refuse is not None:
            return _status(*self.refuse)
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        if job["metadata"]["name"] in self.jobs:
            return _status(409, "AlreadyExists")
        self.jobs[job["metadata"]["name"]] = job
        return 201, job

    def _job(self, seen: Seen, name: str) -> tuple[int, Any]:
        if name not in self.jobs:
            return _status(404, "NotFound")
        if seen.method != "DELETE":
            return 200, self.jobs[name]
        self.removed.append((name, seen.query["propagationPolicy"]))
        return 200, self.jobs.pop(name)

    def end(self, name: str, type_: str, reason: str, log: bytes | None) -> None:
        """The Job ends like that; without a log its pod is gone."""
        if log is not None:
            self.logs[name] = log
        self.jobs[name]["status"] = {"conditions": [{"type": type_, "status": "True", "reason": reason}]}


def _right(seen: Seen) -> str:
    if seen.path.startswith(JOBS):
        return f"{ {'POST': 'create', 'DELETE': 'delete'}.get(seen.method, 'get') } jobs"
    return "list pods" if seen.path == PODS else "get pods/log"


def _status(code: int, reason: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "code": code}


@contextmanager
def serving_cluster(api: ApiServer, kubeconfig: Path) -> Iterator[None]:
    """``api`` for other processes, which find it by the file ``kubeconfig``."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, said = api.answer(Seen(self.command, self.path, dict(self.headers), body))
            data = said if isinstance(said, bytes) else orjson.dumps(said)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = {"name": "tests", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "tests", "context": {"cluster": "tests", "user": "tests"}}
    user = {"name": "tests", "user": {}}
    config = {"clusters": [entry], "contexts": [context], "users": [user], "current-context": "tests"}
    kubeconfig.write_text(json.dumps(config))
    yield
    server.shutdown()
    server.server_close()

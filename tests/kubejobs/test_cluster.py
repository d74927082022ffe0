"""A delegation on an API server: submitted once, followed to its end, its output collected.

The server is a small one of the tests' own, over HTTP; it takes what Kubernetes' own schema takes, and the real client asks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import kubernetes_validate
import orjson
import pytest
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User

from headrace.kubejobs.cluster import KubeCluster
from headrace.kubejobs.delegated import JobFailed, delegated
from headrace.kubejobs.job import job_name
from headrace.kubejobs.port import ClusterError
from tests.kubejobs.test_job import CALLER, CODE, made
from tests.tools.servers import Seen, response, serving

NAME = job_name(CALLER)
JOBS = "/apis/batch/v1/namespaces/headrace-agents/jobs"
PODS = "/api/v1/namespaces/headrace-agents/pods"
SETTINGS = made(max_output_bytes=1_000)


class ApiServer:
    """Jobs by name, and the log of the one pod if there is one. ``refuse`` is answered to whatever is submitted."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.log: bytes | None = None
        self.refuse: tuple[int, str] | None = None
        self.submitted = asyncio.Event()
        self.away = 0  # requests that fail, from now on

    async def script(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        status, body = self._answer(seen)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        writer.write(response(status, data, [("content-type", "application/json")]))

    def _answer(self, seen: Seen) -> tuple[int, Any]:
        if self.away:
            self.away -= 1
            return 503, {"kind": "Status", "reason": "ServiceUnavailable", "code": 503}
        if (seen.method, seen.path) == ("POST", JOBS):
            return self._submit(seen.json)
        if seen.path.startswith(JOBS + "/"):
            job = self.jobs.get(seen.path.removeprefix(JOBS + "/"))
            return (200, job) if job else _status(404, "NotFound")
        if seen.path == PODS:
            mine = seen.query["labelSelector"] == [f"headrace.dev/job={NAME}"] and self.log is not None
            items = [{"metadata": {"name": "pod-1"}}] if mine else []
            return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}
        assert seen.path == f"{PODS}/pod-1/log"
        return 200, self.log

    def _submit(self, job: dict[str, Any]) -> tuple[int, Any]:
        if self.refuse is not None:
            return _status(*self.refuse)
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        self.submitted.set()
        if job["metadata"]["name"] in self.jobs:
            return _status(409, "AlreadyExists")
        self.jobs[job["metadata"]["name"]] = job
        return 201, job

    async def end(self, type_: str, reason: str, log: bytes | None) -> None:
        """The Job ends, once it is there."""
        async with asyncio.timeout(20):
            await self.submitted.wait()
        self.log = log
        self.jobs[NAME]["status"] = {"conditions": [{"type": type_, "status": "True", "reason": reason}]}


def _status(code: int, reason: str) -> tuple[int, Any]:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "code": code}


def config_of(server: str) -> SingleConfig:
    found = KubeConfig.from_one(cluster=Cluster(server=server), user=User()).get()
    assert found is not None
    return found


class World:
    def __init__(self, api: ApiServer, client: AsyncClient) -> None:
        self.api = api
        self.cluster = KubeCluster(client, SETTINGS, every_s=0.01)

    async def delegated(self) -> Any:
        return await delegated(CODE, CALLER, SETTINGS, self.cluster)

    async def ended(self, type_: str, reason: str, log: bytes | None) -> Any:
        """The outcome of a delegation whose Job ends like that."""
        asking = asyncio.create_task(self.delegated())
        await self.api.end(type_, reason, log)
        return await asking


@pytest.fixture
async def world() -> AsyncIterator[World]:
    api = ApiServer()
    async with (
        serving(api.script) as server,
        AsyncClient(config=config_of(server.url), namespace="headrace-agents", trust_env=False) as client,
    ):
        yield World(api, client)


async def test_a_job_from_call_to_result(world: World) -> None:
    outcome = await world.ended("Complete", "", b'thinking\n{"answer": 42}\n')
    assert outcome == {"state": "completed", "job": NAME, "result": {"answer": 42}}


async def test_a_call_that_comes_again_finds_its_own_job(world: World) -> None:
    first = await world.ended("Complete", "", b'"done"\n')
    assert await world.delegated() == first
    assert list(world.api.jobs) == [NAME]


async def test_an_api_server_that_comes_and_goes(world: World) -> None:
    asking = asyncio.create_task(world.delegated())
    await world.api.submitted.wait()
    world.api.away = 5
    await world.api.end("Complete", "", b"7")
    assert (await asking)["result"] == 7


@pytest.mark.parametrize(
    ("reason", "log", "said"),
    [
        (
            "BackoffLimitExceeded",
            b"Traceback: division by zero\n",
            r"BackoffLimitExceeded\): Traceback: division by zero",
        ),
        ("DeadlineExceeded", None, r"DeadlineExceeded\)$"),
    ],
)
async def test_a_job_that_fails_says_its_last_words(world: World, reason: str, log: bytes | None, said: str) -> None:
    with pytest.raises(JobFailed, match=said):
        await world.ended("Failed", reason, log)


async def test_output_is_cut_at_the_bound(world: World) -> None:
    outcome = await world.ended("Complete", "", b"x" * 99 + b"\n" + b"y" * 2_000 + b"\n")
    assert outcome["result"] == "x" * 99


@pytest.mark.parametrize(("code", "reason", "retryable"), [(403, "Forbidden", False), (429, "TooManyRequests", True)])
async def test_a_cluster_that_refuses(world: World, code: int, reason: str, retryable: bool) -> None:
    world.api.refuse = code, reason
    with pytest.raises(ClusterError, match=f"refused: {reason}") as caught:
        await world.delegated()
    assert caught.value.retryable is retryable


async def test_a_job_that_is_gone(world: World) -> None:
    asking = asyncio.create_task(world.delegated())
    await world.api.submitted.wait()
    world.api.jobs.clear()
    with pytest.raises(ClusterError, match="refused: NotFound"):
        await asking


async def test_a_cluster_that_is_away() -> None:
    async with AsyncClient(config=config_of("http://127.0.0.1:9"), namespace="headrace-agents") as client:
        with pytest.raises(ClusterError, match="away") as caught:
            await delegated(CODE, CALLER, SETTINGS, KubeCluster(client, SETTINGS))
    assert caught.value.retryable

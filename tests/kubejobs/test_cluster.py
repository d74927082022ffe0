"""Jobs on an API server: submitted once, asked for their end, their output read, removed.

The server is a small one of the tests' own (``api``); the real client asks it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User

from headrace.kubejobs.cluster import KubeCluster
from headrace.kubejobs.delegated import JobFailed, outcome, submitted
from headrace.kubejobs.job import job_name
from headrace.kubejobs.port import ClusterError, Ended
from tests.kubejobs.api import RIGHTS, ApiServer
from tests.kubejobs.test_job import CALLER, CODE, made
from tests.tools.servers import serving

NAME = job_name(CALLER)
SETTINGS = made(max_output_bytes=1_000)


def config_of(server: str) -> SingleConfig:
    found = KubeConfig.from_one(cluster=Cluster(server=server), user=User()).get()
    assert found is not None
    return found


class World:
    def __init__(self, api: ApiServer, client: AsyncClient) -> None:
        self.api = api
        self.cluster = KubeCluster(client, SETTINGS)

    async def submit(self) -> str:
        return (await submitted(CODE, CALLER, SETTINGS, self.cluster)).name

    async def outcome(self, type_: str, reason: str, log: bytes | None) -> Any:
        """Of a delegation whose Job ends like that."""
        name = await self.submit()
        self.api.end(name, type_, reason, log)
        ended = await self.cluster.ended(name)
        assert ended is not None
        return outcome(name, ended)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    api = ApiServer()
    async with (
        serving(api.script) as server,
        AsyncClient(config=config_of(server.url), namespace="headrace-agents", trust_env=False) as client,
    ):
        yield World(api, client)


async def test_a_job_from_call_to_result(world: World) -> None:
    assert await world.submit() == NAME
    assert await world.cluster.ended(NAME) is None
    found = await world.outcome("Complete", "", b'thinking\n{"answer": 42}\n')
    assert found == {"state": "completed", "job": NAME, "result": {"answer": 42}}
    assert list(world.api.jobs) == [NAME], "the call that came again found its own Job"


async def test_an_api_server_that_comes_and_goes_is_asked_again(world: World) -> None:
    await world.submit()
    world.api.end(NAME, "Complete", "", b"7")
    for answered in range(3):  # then it is away: the Job, its pods, the log; an outcome is never half of one
        world.api.answers = answered
        with pytest.raises(ClusterError, match="ServiceUnavailable") as caught:
            await world.cluster.ended(NAME)
        assert caught.value.retryable
    world.api.answers = None
    assert await world.cluster.ended(NAME) == Ended("completed", "", "7\n")


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
        await world.outcome("Failed", reason, log)


async def test_output_is_cut_at_the_bound(world: World) -> None:
    found = await world.outcome("Complete", "", b"x" * 99 + b"\n" + b"y" * 2_000 + b"\n")
    assert found["result"] == "x" * 99


@pytest.mark.parametrize(("code", "reason", "retryable"), [(403, "Forbidden", False), (429, "TooManyRequests", True)])
async def test_a_cluster_that_refuses(world: World, code: int, reason: str, retryable: bool) -> None:
    world.api.refuse = code, reason
    with pytest.raises(ClusterError, match=f"refused: {reason}") as caught:
        await world.submit()
    assert caught.value.retryable is retryable


async def test_a_job_that_is_gone(world: World) -> None:
    ended = await world.cluster.ended(NAME)
    assert ended == Ended("gone")
    with pytest.raises(JobFailed, match="not in the cluster any more"):
        outcome(NAME, ended)


async def test_a_job_is_removed_with_its_pods_however_often(world: World) -> None:
    await world.submit()
    await world.cluster.remove(NAME)
    await world.cluster.remove(NAME)
    assert world.api.removed == [(NAME, ["Background"])]


async def test_nothing_is_asked_that_the_chart_gives_no_right_to(world: World) -> None:
    await world.submit()
    assert world.api.asked == RIGHTS["tools"]
    world.api.asked.clear()
    world.api.end(NAME, "Complete", "", b"7")
    await world.cluster.ended(NAME)
    await world.cluster.remove(NAME)
    assert world.api.asked == RIGHTS["orchestration"]


async def test_a_cluster_that_is_away() -> None:
    async with AsyncClient(config=config_of("http://127.0.0.1:9"), namespace="headrace-agents") as client:
        cluster = KubeCluster(client, SETTINGS)
        for asked in (submitted(CODE, CALLER, SETTINGS, cluster), cluster.ended(NAME), cluster.remove(NAME)):
            with pytest.raises(ClusterError, match="away") as caught:
                await asked
            assert caught.value.retryable

"""The cluster: submit a Job, ask for its end and what it printed, remove it; through lightkube, and nothing but Jobs and their
pods' logs.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Final, Literal, cast

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.config.kubeconfig import KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from lightkube.types import CascadeType

from headrace.kubejobs.job import CONTAINER, JOB_LABEL
from headrace.kubejobs.port import ClusterError, Ended
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError

_LINES: Final = 5_000  # the last ones of an output


class KubeCluster:
    """``port.Cluster`` over the API server."""

    def __init__(self, client: AsyncClient, settings: KubeSettings) -> None:
        self._client = client
        self._namespace = settings.namespace
        self._max_bytes = settings.max_output_bytes

    async def submit(self, job: JsonObject) -> None:
        with _translated(but=(httpx2.codes.CONFLICT,)):
            await self._client.create(cast(Job, Job.from_dict(job)))

    async def ended(self, name: str) -> Ended | None:
        with _translated(but=(httpx2.codes.NOT_FOUND,)):
            job = await self._client.get(Job, name, namespace=self._namespace)
            for condition in (job.status.conditions if job.status else None) or ():
                if condition.status == "True" and condition.type in ("Complete", "Failed"):
                    state: Literal["completed", "failed"] = "completed" if condition.type == "Complete" else "failed"
                    return Ended(state, condition.reason or "", await self._output(name))
            return None
        return Ended("gone")

    async def remove(self, name: str) -> None:
        with _translated(but=(httpx2.codes.NOT_FOUND,)):
            await self._client.delete(Job, name, namespace=self._namespace, cascade=CascadeType.BACKGROUND)

    async def _output(self, name: str) -> str:
        """What the pod printed; empty where it is gone, as after a deadline, or never began."""
        found: list[str] = []
        size = 0
        async for pod in self._client.list(Pod, namespace=self._namespace, labels={JOB_LABEL: name}):
            pod_name = pod.metadata.name if pod.metadata and pod.metadata.name else ""
            with _translated(but=(httpx2.codes.NOT_FOUND, httpx2.codes.BAD_REQUEST)):
                async for line in self._client.log(
                    pod_name, namespace=self._namespace, container=CONTAINER, tail_lines=_LINES
                ):
                    size += len(line)
                    if size > self._max_bytes:
                        return "".join(found)
                    found.append(line)
        return "".join(found)


def connect(settings: KubeSettings) -> AsyncClient:
    """Raises ``FatalError`` where the configuration is not to be found."""
    try:
        config = KubeConfig.from_service_account() if settings.cluster == "in-cluster" else KubeConfig.from_env()
        return AsyncClient(config=config.get(), namespace=settings.namespace)
    except Exception as error:
        raise FatalError(f"no way to a cluster ({settings.cluster}): {type(error).__name__}") from None


@contextmanager
def _translated(*, but: Container[int]) -> Iterator[None]:
    """What goes wrong within is a ``ClusterError``; an answer whose status is in ``but`` is passed over."""
    try:
        yield
    except httpx2.HTTPStatusError as error:  # lightkube's ApiError where the API server itself has answered
        code = error.response.status_code
        if code not in but:
            reason = error.status.reason if isinstance(error, ApiError) else None
            raise ClusterError(f"the cluster refused: {reason or code}", retryable=code == 429 or code >= 500) from None
    except httpx2.HTTPError:
        raise ClusterError("the cluster is away", retryable=True) from None
    except ValueError:
        raise ClusterError("what the cluster answered can't be read", retryable=True) from None

"""The cluster: submit a Job, follow it, read what it printed; through lightkube, and nothing but Jobs and their pods' logs."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, cast

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.config.kubeconfig import KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from headrace.kubejobs.job import CONTAINER, JOB_LABEL
from headrace.kubejobs.port import ClusterError, Ended
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError

_EVERY_S: Final = 1.0
_LINES: Final = 5_000  # the last ones of an output


class KubeCluster:
    """``port.Cluster`` over the API server."""

    def __init__(self, client: AsyncClient, settings: KubeSettings, *, every_s: float = _EVERY_S) -> None:
        self._client = client
        self._namespace = settings.namespace
        self._max_bytes = settings.max_output_bytes
        self._every_s = every_s

    async def submit(self, job: JsonObject) -> None:
        try:
            await self._client.create(cast(Job, Job.from_dict(job)))
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != httpx2.codes.CONFLICT:
                raise _refused(error) from None
        except httpx2.HTTPError:
            raise ClusterError("the cluster is away", retryable=True) from None

    async def ended(self, name: str) -> Ended:
        while True:
            if (outcome := await self._outcome(name)) is not None:
                state, reason = outcome
                return Ended(state, reason, await self._output(name))
            await asyncio.sleep(self._every_s)

    async def _outcome(self, name: str) -> tuple[Literal["completed", "failed"], str] | None:
        try:
            job = await self._client.get(Job, name, namespace=self._namespace)
        except httpx2.HTTPStatusError as error:
            if (refused := _refused(error)).retryable:
                return None
            raise refused from None
        except httpx2.HTTPError:
            return None  # asked again: the Job goes on without us
        for condition in (job.status.conditions if job.status else None) or ():
            if condition.status == "True" and condition.type in ("Complete", "Failed"):
                return "completed" if condition.type == "Complete" else "failed", condition.reason or ""
        return None

    async def _output(self, name: str) -> str:
        """What the pod printed; empty where it is gone, as after a deadline."""
        found: list[str] = []
        size = 0
        try:
            async for pod in self._client.list(Pod, namespace=self._namespace, labels={JOB_LABEL: name}):
                pod_name = pod.metadata.name if pod.metadata and pod.metadata.name else ""
                async for line in self._client.log(
                    pod_name, namespace=self._namespace, container=CONTAINER, tail_lines=_LINES
                ):
                    size += len(line)
                    if size > self._max_bytes:
                        return "".join(found)
                    found.append(line)
        except httpx2.HTTPError:
            return "".join(found)
        return "".join(found)


def connect(settings: KubeSettings) -> AsyncClient:
    """Raises ``FatalError`` where the configuration is not to be found."""
    try:
        config = KubeConfig.from_service_account() if settings.cluster == "in-cluster" else KubeConfig.from_env()
        return AsyncClient(config=config.get(), namespace=settings.namespace)
    except Exception as error:
        raise FatalError(f"no way to a cluster ({settings.cluster}): {type(error).__name__}") from None


def _refused(error: httpx2.HTTPStatusError) -> ClusterError:
    """``error`` is lightkube's ``ApiError`` where the API server itself has answered."""
    code = error.response.status_code
    reason = error.status.reason if isinstance(error, ApiError) else None
    return ClusterError(f"the cluster refused: {reason or code}", retryable=code == 429 or code >= 500)

"""Agents that run as Kubernetes Jobs, as targets of ``delegate_to_agent``.

The Job is submitted here, and the call is parked: whoever keeps the wait sees how the Job ends. A call that is made again finds
its own Job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from headrace.kubejobs.delegated import submitted
from headrace.kubejobs.job import Caller, JobRefused
from headrace.kubejobs.port import Cluster, ClusterError
from headrace.kubejobs.reach import reached
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.tools.api import CallParked, ToolContext, ToolFailure, ToolOutput
from headrace.tools.delegate.tool import IMAGE, Target
from headrace.toolspecs.delegate_to_agent import JOB_AGENTS

_GRACE_MS: Final = 30_000  # from a Job's deadline until its end is seen
_HAND_OVER_S: Final = 30.0  # its outcome comes later


class KubernetesAgent:
    """A ``Target`` for one type of agent. Without a cluster its output is the Job that would be submitted."""

    def __init__(self, agent_type: str, settings: KubeSettings, cluster: Cluster | None) -> None:
        self._agent_type = agent_type
        self._settings = settings
        self._cluster = cluster

    @property
    def timeout_s(self) -> float:
        return _HAND_OVER_S

    async def start(self, inputs: JsonObject, config: JsonObject, context: ToolContext) -> ToolOutput:
        """Raises ``CallParked``, or ``ToolFailure``: ``invalid_arguments``, ``cluster``."""
        asked = {"agent_type": self._agent_type, "inputs": inputs}
        asked |= {"config": {name: value for name, value in config.items() if name != IMAGE}}
        asked |= {IMAGE: config[IMAGE]} if IMAGE in config else {}
        caller = Caller(
            tenant=context.tenant,
            run_id=context.run_id,
            agent=context.agent,
            idempotency_key=context.idempotency_key,
            remaining_s=context.remaining_s,
        )
        try:
            job = await submitted(asked, caller, self._settings, self._cluster)
        except JobRefused as error:
            raise ToolFailure("invalid_arguments", str(error)) from None
        except ClusterError as error:
            raise ToolFailure("cluster", str(error), retryable=error.retryable) from None
        if self._cluster is None:
            return ToolOutput({"state": "dry_run", "job": job.name, "spec": job.spec})
        raise CallParked("kube_job", context.now_ms + job.seconds * 1_000 + _GRACE_MS, kube_job=job.name)


@asynccontextmanager
async def kubernetes_agents(settings: KubeSettings) -> AsyncIterator[Mapping[str, Target]]:
    """The targets by type of agent. Raises ``FatalError`` where a cluster is set up and there is no way to it."""
    async with reached(settings) as cluster:
        yield {name: KubernetesAgent(name, settings, cluster) for name in JOB_AGENTS}

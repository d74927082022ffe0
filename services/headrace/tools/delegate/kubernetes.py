"""Agents that run as Kubernetes Jobs, as targets of ``delegate_to_agent``.

The call waits for its Job, so it lasts as long; a call that is made again finds its own Job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from headrace.kubejobs.delegated import JobFailed, delegated
from headrace.kubejobs.job import Caller, JobRefused
from headrace.kubejobs.port import Cluster, ClusterError
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.base import JsonObject
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.tools.delegate.tool import IMAGE, Target
from headrace.toolspecs.delegate_to_agent import JOB_AGENTS

_GRACE_S = 30.0  # from a Job's deadline until it is seen


class KubernetesAgent:
    """A ``Target`` for one type of agent. Without a cluster its output is the Job that would be submitted."""

    def __init__(self, agent_type: str, settings: KubeSettings, cluster: Cluster | None) -> None:
        self._agent_type = agent_type
        self._settings = settings
        self._cluster = cluster

    @property
    def timeout_s(self) -> float:
        return self._settings.max_seconds + _GRACE_S

    async def start(self, inputs: JsonObject, config: JsonObject, context: ToolContext) -> ToolOutput:
        """Raises ``ToolFailure``: ``invalid_arguments``, ``job_failed``, ``cluster``."""
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
            return ToolOutput(await delegated(asked, caller, self._settings, self._cluster))
        except JobRefused as error:
            raise ToolFailure("invalid_arguments", str(error)) from None
        except JobFailed as error:
            raise ToolFailure("job_failed", str(error)) from None
        except ClusterError as error:
            raise ToolFailure("cluster", str(error), retryable=error.retryable) from None


@asynccontextmanager
async def kubernetes_agents(settings: KubeSettings) -> AsyncIterator[Mapping[str, Target]]:
    """The targets by type of agent. Raises ``FatalError`` where a cluster is set up and there is no way to it."""
    if settings.cluster == "none":
        yield {name: KubernetesAgent(name, settings, None) for name in JOB_AGENTS}
        return
    from headrace.kubejobs.cluster import KubeCluster, connect

    async with connect(settings) as client:
        cluster = KubeCluster(client, settings)
        yield {name: KubernetesAgent(name, settings, cluster) for name in JOB_AGENTS}

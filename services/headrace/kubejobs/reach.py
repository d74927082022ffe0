"""The way to the cluster that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.kubejobs.port import Cluster
from headrace.kubejobs.settings import KubeSettings


@asynccontextmanager
async def reached(settings: KubeSettings) -> AsyncIterator[Cluster | None]:
    """None where no cluster is set up; then nothing of Kubernetes is loaded. Raises ``FatalError`` where there is no way to it."""
    if settings.cluster == "none":
        yield None
        return
    from headrace.kubejobs.cluster import KubeCluster, connect

    async with connect(settings) as client:
        yield KubeCluster(client, settings)

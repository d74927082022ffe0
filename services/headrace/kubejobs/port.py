"""What a delegation needs of a cluster."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError


class ClusterError(HeadraceError):
    """The cluster refused the Job (``retryable`` False), or is away."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class Ended(NamedTuple):
    """``reason`` is Kubernetes' own word, such as DeadlineExceeded; ``output`` the container's, cut at the bound."""

    state: Literal["completed", "failed"]
    reason: str
    output: str


class Cluster(Protocol):
    async def submit(self, job: JsonObject) -> None:
        """Once: a Job of that name that is there already is this one. Raises ``ClusterError``."""
        ...

    async def ended(self, name: str) -> Ended:
        """Waits for the Job's end. Raises ``ClusterError``."""
        ...

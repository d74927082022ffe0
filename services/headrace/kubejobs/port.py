"""What a delegation needs of a cluster."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError


class ClusterError(HeadraceError):
    """The cluster refused what it was asked (``retryable`` False), or is away."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class Ended(NamedTuple):
    """``reason`` is Kubernetes' own word, such as DeadlineExceeded; ``output`` the container's, cut at the bound.

    ``gone``: there is no such Job any more, so nobody knows what came of it.
    """

    state: Literal["completed", "failed", "gone"]
    reason: str = ""
    output: str = ""


class Cluster(Protocol):
    """Every method raises ``ClusterError``."""

    async def submit(self, job: JsonObject) -> None:
        """Once: a Job of that name that is there already is this one."""
        ...

    async def ended(self, name: str) -> Ended | None:
        """How the Job ended; None while it has not."""
        ...

    async def remove(self, name: str) -> None:
        """The Job with its pods, whether it runs or has ended. One that is gone is removed."""
        ...

"""A client of the mesh over HTTP: ``Client``, ``AsyncClient`` with the same methods, and ``run`` for one prompt.

from headrace.client import Client, run

print(run("What can you do?"))

with Client() as client:
    ended = client.run("risk-classifier", input={"title": "Open port 22"}, idempotency_key="port-22")
    print(ended.result()["risk"])

It needs ``httpx2`` and ``msgspec`` and nothing else of headrace.
"""

from headrace.client.aio import AsyncClient
from headrace.client.ask import run
from headrace.client.blocking import Client
from headrace.client.errors import (
    ApiError,
    Conflict,
    HeadraceError,
    InvalidCredential,
    InvalidRequest,
    NotAllowed,
    NotFound,
    RunFailed,
    Unavailable,
    Unreachable,
    WaitTimedOut,
)
from headrace.client.models import Ended, Forked, LiveVersion, Replay, Run, RunError, RunEvent, RunPage, Started, Usage

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "Ended",
    "Forked",
    "HeadraceError",
    "InvalidCredential",
    "InvalidRequest",
    "LiveVersion",
    "NotAllowed",
    "NotFound",
    "Replay",
    "Run",
    "RunError",
    "RunEvent",
    "RunFailed",
    "RunPage",
    "Started",
    "Unavailable",
    "Unreachable",
    "Usage",
    "WaitTimedOut",
    "run",
]

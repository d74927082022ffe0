"""What a tool is to the service, and what a call of it may know.

A tool gets arguments that fit its schema, and gives JSON. What it may reach (allow-lists, bounds, timeouts) is put
around it by ``wrap``; a tool holds no such rule itself and knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple, Protocol

from headrace.messages.agent import AgentDefinition
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError
from headrace.messages.job import Job
from headrace.messages.run import ToolCall, ToolCalls
from headrace.messages.wait import Kind
from headrace.toolspecs import Spec


class Asked(NamedTuple):
    """Where a call comes from: the record, the agent's definition, and the call itself."""

    message: ToolCalls
    definition: AgentDefinition
    call: ToolCall


class ToolContext(NamedTuple):
    """One call's surroundings. ``tools`` and ``domains`` are the agent's allow-lists; ``remaining_s`` is the run's
    time left, ``user_id`` whom it runs for.

    ``approval`` says whether somebody has to say yes first, or has done so (``repeat``: to a call that may have been made already);
    they have until ``approve_by_ms`` (epoch). ``round`` counts how often the calls were parked. ``now_ms`` is the
    moment of the call. ``asked`` is for tools that begin work of their own for the run.
    """

    tenant: str
    run_id: str
    agent: str
    tools: tuple[str, ...]
    domains: tuple[str, ...]
    idempotency_key: str
    remaining_s: float
    user_id: str | None = None
    approval: Literal["none", "required", "given", "repeat"] = "none"
    round: int = 0
    approve_by_ms: int = 0
    now_ms: int = 0
    asked: Asked | None = None


class ToolOutput(NamedTuple):
    """``content`` is any JSON value, small: a tool puts what is large into the blob store and gives a reference.

    ``cache_hit``: it was not computed for this call.
    """

    content: Any
    cache_hit: bool = False


Run = Callable[[JsonObject, ToolContext], Coroutine[Any, Any, ToolOutput]]


class Tool(Protocol):
    """``spec`` is its entry of ``toolspecs.SPECS``; ``timeout_s`` bounds one call, whatever the run has left."""

    @property
    def spec(self) -> Spec: ...

    @property
    def timeout_s(self) -> float: ...

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        """Raises ``ToolFailure`` for the model to read, ``CallParked`` where the outcome comes later, or ``TransientError`` to
        have the whole record tried again.
        """
        ...


class CallParked(HeadraceError):
    """Raised by a tool whose outcome comes later: the run waits for it, and no worker does.

    At ``deadline_ms`` (epoch milliseconds) the outcome that ``kind`` declares counts. ``job`` is begun for the kind ``agent``;
    ``kube_job`` was submitted, for the kind of that name.
    """

    def __init__(self, kind: Kind, deadline_ms: int, job: Job | None = None, *, kube_job: str | None = None) -> None:
        super().__init__(f"the call is parked ({kind})")
        self.kind: Kind = kind
        self.deadline_ms = deadline_ms
        self.job = job
        self.kube_job = kube_job


class ToolFailure(HeadraceError):
    """A call that failed, in words for the model; the processor turns it into an error outcome.

    ``type`` is a stable code: ``unknown_tool``, ``not_allowed``, ``invalid_arguments``, ``timeout``, ``deadline``,
    ``too_large``, ``internal_error``, ``arguments_unavailable``, ``not_approved``, and those of the tool itself.
    """

    def __init__(self, type_: str, message: str, *, retryable: bool = False, step: str | None = None) -> None:
        super().__init__(message)
        self.type = type_
        self.retryable = retryable
        self.step = step

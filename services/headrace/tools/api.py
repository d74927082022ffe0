"""What a tool is to the service, and what a call of it may know.

A tool gets arguments that fit its schema, and gives JSON. What it may reach (allow-lists, bounds, timeouts) is put
around it by ``wrap``; a tool holds no such rule itself and knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError
from headrace.toolspecs import Spec


class ToolContext(NamedTuple):
    """One call's surroundings. ``tools`` and ``domains`` are the agent's allow-lists; ``remaining_s`` is the run's
    time left.
    """

    tenant: str
    run_id: str
    agent: str
    tools: tuple[str, ...]
    domains: tuple[str, ...]
    idempotency_key: str
    remaining_s: float


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
        """Raises ``ToolFailure`` for the model to read, or ``TransientError`` to have the whole record tried again."""
        ...


class ToolFailure(HeadraceError):
    """A call that failed, in words for the model; the processor turns it into an error outcome.

    ``type`` is a stable code: ``unknown_tool``, ``not_allowed``, ``invalid_arguments``, ``timeout``, ``deadline``,
    ``too_large``, ``internal_error``, ``arguments_unavailable``, and those of the tool itself.
    """

    def __init__(self, type_: str, message: str, *, retryable: bool = False, step: str | None = None) -> None:
        super().__init__(message)
        self.type = type_
        self.retryable = retryable
        self.step = step

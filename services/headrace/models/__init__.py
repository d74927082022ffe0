"""The model port: one small interface, and adapters for ``anthropic``, ``openai`` (any compatible base URL) and ``offline``.

A request carries the whole conversation, resolved; a reply is one model turn with what it used. Adapters import their client
libraries on first use, turn provider errors into ``ModelError`` and never log or raise a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from headrace.messages.errors import HeadraceError
from headrace.messages.run import CallRequest, Entry, Usage

OnText = Callable[[int, str], None]  # (position in the turn's text, a piece of it)
_NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})


class ToolSpec(NamedTuple):
    """A tool as a model sees it; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ModelRequest(NamedTuple):
    """One model call. ``model`` is the provider's name for it, without the ``anthropic:`` prefix.

    ``system`` and ``tools`` are the stable prefix (adapters mark it for caching where the provider wants a mark). All entries have
    their content inline. ``output_schema`` is what the caller will check a final answer against (None: free text).
    ``facts`` is structured context (agent name, canonical event) for the offline model only; other adapters ignore it.
    ``on_text``: the answer is asked for as a stream, and its text is told piece by piece as it comes; a position of 0 again means
    that the turn was asked for anew. The reply is the same either way. The offline model has nothing to stream and ignores it.
    """

    model: str
    system: str
    entries: tuple[Entry, ...]
    tools: tuple[ToolSpec, ...] = ()
    output_schema: dict[str, Any] | None = None
    max_output_tokens: int = 2_000
    timeout_s: float = 60.0
    temperature: float | None = None  # None: the provider's default
    facts: Mapping[str, Any] = _NO_FACTS
    on_text: OnText | None = None


class ModelReply(NamedTuple):
    """One model turn: text, tool calls, or both. ``model`` is ``provider:name`` as the response says it.

    ``stop_reason`` is ``end_turn``, ``tool_use``, ``max_tokens`` (the answer was cut) or ``refusal`` with every provider; anything
    else is the provider's own word. Arguments that the model garbled are marked: see ``models.arguments``.
    """

    text: str | None
    tool_calls: tuple[CallRequest, ...]
    usage: Usage
    model: str
    stop_reason: str | None = None
    latency_ms: int = 0
    attempts: int = 1
    request_id: str | None = None


class ModelError(HeadraceError):
    """A model call that failed for good: retries within the adapter's budget are already spent.

    ``kind`` is a stable code. Retryable: ``rate_limited``, ``overloaded``, ``timeout``, ``connection``, ``server_error``, and
    ``bad_response`` (tried only twice). Not: ``bad_request``, ``authentication`` (also: the account can't pay), ``not_found``,
    ``context_length``, ``not_configured``. ``retry_after``: seconds that the provider asked to wait, if it did.
    The message names no secret and quotes no prompt, and no other exception is chained to it.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        retryable: bool,
        status: int | None = None,
        attempts: int = 1,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.status = status
        self.attempts = attempts
        self.retry_after = retry_after


class Model(Protocol):
    """One provider. ``complete`` retries what may be retried (429, 5xx, timeouts; Retry-After honoured) within ``timeout_s``."""

    async def complete(self, request: ModelRequest) -> ModelReply: ...

    async def close(self) -> None: ...

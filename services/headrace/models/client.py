"""What the two HTTP adapters share: the lazily made client library, one attempt over it, and the reply built from its answer.

The libraries' exceptions hold the request with its key, so none of them leaves this file: an attempt notes what failed and raises
its own error outside of the ``except`` block, so that not even the implicit context of the new exception refers to the old one.
Requests go through the libraries' ``post``: their methods for one endpoint walk all arguments type by type, which costs a tenth
of a millisecond, and milliseconds for a long conversation. Responses are taken raw and read by our own code, since the libraries
hand through whatever a server sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import orjson
from pydantic import SecretStr

from headrace.messages.run import CallRequest, Usage
from headrace.models import ModelError, ModelReply, pricing
from headrace.models.failures import from_status
from headrace.models.pool import ShardedTransport, environment_proxy
from headrace.models.retry import AttemptFailed, RetryPolicy

Parsed = tuple[str | None, tuple[CallRequest, ...], Usage, str, str | None]
Create = Callable[[Any, httpx2.Timeout], Awaitable[httpx2.Response]]
Parse = Callable[[Any], Parsed]
_CONNECT_S: Final = 10.0
_MAX_REASON: Final = 100  # characters
_UNREADABLE: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # msgspec's errors are ValueErrors


@dataclass(frozen=True, slots=True)
class Provider:
    """How one client library is used. ``client_class`` and ``error_class`` are names inside ``library``."""

    name: str
    library: str
    client_class: str
    key_variable: str
    request_id_header: str
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of its client class


class HttpModel:
    """One provider over its client library, imported and connected on first use (1-2 s, in a thread)."""

    def __init__(
        self, provider: Provider, key: SecretStr | None, base_url: str, max_connections: int, retry: RetryPolicy
    ) -> None:
        self._provider = provider
        self._key = key
        self._base_url = base_url
        self._max_connections = max_connections
        self._retry = retry
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._errors: Any = None

    async def call(
        self,
        create: Create,
        parse: Parse,
        asked: str,
        budget_s: float,
    ) -> ModelReply:
        """Retry ``create(client, limit)`` within ``budget_s`` until an answer parses. ``asked`` is the requested model's name.

        Raises:
            ModelError.
        """
        started = time.monotonic()
        client = self._client or await self._open()
        reply, tries = await self._retry.run(lambda left: self._attempt(create, parse, client, asked, left), budget_s)
        return reply._replace(attempts=tries, latency_ms=round((time.monotonic() - started) * 1000))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _open(self) -> Any:
        key = self._usable_key()
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect, key)
        return self._client

    def _usable_key(self) -> str:
        key = self._key.get_secret_value() if self._key else ""
        if not key:
            raise _not_configured(f"{self._provider.key_variable} is not set")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise _not_configured(f"{self._provider.key_variable} is not a key: it holds characters that no header can")
        return key

    def _connect(self, key: str) -> Any:
        library = importlib.import_module(self._provider.library)
        pricing.preload()
        self._errors = library
        try:
            url = httpx2.URL(self._base_url)
        except httpx2.InvalidURL:
            url = httpx2.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise _not_configured(f"the base URL of {self._provider.name} is not an http(s) URL")
        transport = ShardedTransport(self._max_connections, proxy=environment_proxy(url))
        http = httpx2.AsyncClient(transport=transport, follow_redirects=False)
        client_class = getattr(library, self._provider.client_class)
        return client_class(
            api_key=key, base_url=self._base_url, max_retries=0, http_client=http, **self._provider.options
        )

    async def _attempt(
        self,
        create: Create,
        parse: Parse,
        client: Any,
        asked: str,
        left: float,
    ) -> ModelReply:
        failed: AttemptFailed | None = None
        try:
            async with asyncio.timeout(left):  # the libraries' timeouts bound each read, not the whole
                response = await create(client, httpx2.Timeout(left, connect=min(left, _CONNECT_S)))
        except TimeoutError:
            failed = AttemptFailed(f"no answer within {left:.1f} s", "timeout")
        except (self._errors.APIError, httpx2.HTTPError) as error:
            failed = self._failure(error, left)
        if failed is not None:
            raise failed
        return self._reply(response, parse, asked)

    def _failure(self, error: Exception, left: float) -> AttemptFailed:
        if isinstance(error, self._errors.APITimeoutError | httpx2.TimeoutException):
            return AttemptFailed(f"no answer within {left:.1f} s", "timeout")
        if isinstance(error, self._errors.APIStatusError):
            response = error.response
            secret = self._key.get_secret_value() if self._key else ""
            return from_status(response.status_code, response.headers, _body(error), secret=secret)
        if isinstance(error, self._errors.APIConnectionError):
            return AttemptFailed(f"connection failed: {type(error.__cause__).__name__}", "connection")
        if isinstance(error, httpx2.TransportError):  # in the middle of a stream
            return AttemptFailed(f"connection failed: {type(error).__name__}", "connection")
        return AttemptFailed(f"unreadable answer: {type(error).__name__}", "bad_response")

    def _reply(self, response: httpx2.Response, parse: Parse, asked: str) -> ModelReply:
        parsed: Parsed | None = None
        with contextlib.suppress(*_UNREADABLE):
            parsed = parse(orjson.loads(response.content))
        if parsed is None:
            raise AttemptFailed(f"HTTP {response.status_code} without a readable answer", "bad_response")
        text, calls, usage, model, stop_reason = parsed
        model = model or asked
        cost = pricing.price(self._provider.name, (model, asked), usage)
        return ModelReply(
            text=text,
            tool_calls=_unique(calls),
            usage=usage.replace(cost_usd=cost.usd),
            model=f"{self._provider.name}:{model}",
            stop_reason=None if stop_reason is None else str(stop_reason)[:_MAX_REASON],
            request_id=response.headers.get(self._provider.request_id_header),
        )


def _unique(calls: tuple[CallRequest, ...]) -> tuple[CallRequest, ...]:
    """Results are matched to calls by id, so a repeated id is told apart by its position."""
    seen: set[str] = set()
    unique = []
    for index, call in enumerate(calls):
        unique.append(call.replace(id=f"{call.id}_{index}") if call.id in seen else call)
        seen.add(call.id)
    return tuple(unique)


def _body(error: Any) -> Any:
    """The decoded body of a status error; of one that came in the middle of a stream, the event that told it."""
    try:
        return orjson.loads(error.response.content)
    except orjson.JSONDecodeError:
        return None
    except httpx2.ResponseNotRead:
        return error.body


def _not_configured(message: str) -> ModelError:
    return ModelError(message, kind="not_configured", retryable=False, attempts=0)

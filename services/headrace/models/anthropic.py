"""The Anthropic adapter: the ``anthropic`` client behind the model port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2

from headrace.models import ModelReply, ModelRequest, OnText
from headrace.models.anthropic_wire import from_wire, to_wire
from headrace.models.client import HttpModel, Provider
from headrace.models.quirks import thinking
from headrace.models.retry import RetryPolicy
from headrace.models.settings import ModelSettings
from headrace.models.streams import AnthropicAssembly, collected

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

_PATH: Final = "/v1/messages"
_PROVIDER: Final = Provider(
    "anthropic",
    "anthropic",
    "AsyncAnthropic",
    "ANTHROPIC_API_KEY",
    "request-id",
    # Its own spans and trace headers stay off: ours are in ``Models``, and a provider has no use for our trace ids.
    {"open_telemetry": {"traces": False, "propagation": False}},
)


class AnthropicModel:
    """Messages API. The key goes to the configured base URL and nowhere else."""

    def __init__(self, settings: ModelSettings, retry: RetryPolicy | None = None) -> None:
        self._thinking = settings.anthropic_thinking
        self._http = HttpModel(
            _PROVIDER,
            settings.anthropic_api_key,
            settings.anthropic_base_url,
            settings.model_max_connections,
            retry or RetryPolicy(attempts=settings.model_attempts),
        )

    async def complete(self, request: ModelRequest) -> ModelReply:
        """One turn. Raises ModelError."""
        body = to_wire(request, thinking(self._thinking, request.model))

        async def create(client: AsyncAnthropic, limit: httpx2.Timeout) -> httpx2.Response:
            if request.on_text is not None:
                return await _streamed(client, body, limit, request.on_text)
            return await client.post(_PATH, body=body, cast_to=httpx2.Response, options={"timeout": limit})

        return await self._http.call(create, from_wire, request.model, request.timeout_s)

    async def close(self) -> None:
        await self._http.close()


async def _streamed(
    client: AsyncAnthropic, body: dict[str, Any], limit: httpx2.Timeout, on_text: OnText
) -> httpx2.Response:
    from anthropic import AsyncStream  # imported by now, with the client

    asked = body | {"stream": True}
    stream = await client.post(
        _PATH, body=asked, cast_to=object, options={"timeout": limit}, stream=True, stream_cls=AsyncStream[object]
    )
    return await collected(stream, AnthropicAssembly(), on_text)

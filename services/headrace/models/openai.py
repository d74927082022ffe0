"""The OpenAI adapter: the ``openai`` client behind the model port, for OpenAI and whatever speaks chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2
import orjson

from headrace.models import ModelReply, ModelRequest, OnText
from headrace.models.client import HttpModel, Parsed, Provider
from headrace.models.openai_wire import from_wire, to_wire
from headrace.models.quirks import reasoning_effort
from headrace.models.retry import RetryPolicy
from headrace.models.settings import ModelSettings
from headrace.models.streams import OpenAIAssembly, collected

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PATH: Final = "/chat/completions"
_PROVIDER: Final = Provider("openai", "openai", "AsyncOpenAI", "OPENAI_API_KEY", "x-request-id")


class OpenAIModel:
    """Chat completions. A server that wants no key still needs ``OPENAI_API_KEY`` set, to anything."""

    def __init__(self, settings: ModelSettings, retry: RetryPolicy | None = None) -> None:
        self._settings = settings
        self._http = HttpModel(
            _PROVIDER,
            settings.openai_api_key,
            settings.openai_base_url,
            settings.model_max_connections,
            retry or RetryPolicy(attempts=settings.model_attempts),
        )

    async def complete(self, request: ModelRequest) -> ModelReply:
        """One turn. Raises ModelError."""
        effort = reasoning_effort(self._settings.openai_reasoning_effort, request.model)
        body = to_wire(request, self._settings, effort)

        async def create(client: AsyncOpenAI, limit: httpx2.Timeout) -> httpx2.Response:
            if request.on_text is not None:
                return await _streamed(client, body, limit, request.on_text)
            return await client.post(_PATH, body=body, cast_to=httpx2.Response, options={"timeout": limit})

        def parse(answer: Any) -> Parsed:
            return from_wire(answer, len(orjson.dumps(body)))

        return await self._http.call(create, parse, request.model, request.timeout_s)

    async def close(self) -> None:
        await self._http.close()


async def _streamed(
    client: AsyncOpenAI, body: dict[str, Any], limit: httpx2.Timeout, on_text: OnText
) -> httpx2.Response:
    from openai import AsyncStream  # imported by now, with the client

    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    stream = await client.post(
        _PATH, body=asked, cast_to=object, options={"timeout": limit}, stream=True, stream_cls=AsyncStream[object]
    )
    return await collected(stream, OpenAIAssembly(), on_text)

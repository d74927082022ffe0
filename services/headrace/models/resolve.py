"""Model specs: which model a text such as ``default`` stands for, and the facade that calls it.

    anthropic:NAME  openai:NAME    that model (``anthropic`` or ``openai`` alone: the provider's default name by settings)
    offline                        the rule-based stand-in
    default                        HEADRACE_MODEL, else Anthropic or OpenAI by whose key is set, else offline

A resolved spec is one of the first three forms with a name; it is what runs record, and the label of metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headrace.models import Model, ModelError, ModelReply, ModelRequest, spans
from headrace.models.anthropic import AnthropicModel
from headrace.models.openai import OpenAIModel
from headrace.models.settings import ModelSettings
from headrace.observe.metrics import MODEL_CALLS, MODEL_SECONDS, TOKENS

OFFLINE: Final = "offline"


def resolve(spec: str, settings: ModelSettings) -> str:
    """The resolved spec.

    Raises:
        ModelError: ``not_configured``: no such provider, or no name.
    """
    if spec == "default":
        spec = settings.model or _by_keys(settings)
    provider, _, name = spec.partition(":")
    if spec == OFFLINE:
        return spec
    defaults = {"anthropic": settings.anthropic_model, "openai": settings.openai_model}
    name = name.strip() or ("" if ":" in spec else defaults.get(provider, ""))
    if provider not in defaults or not name:
        raise ModelError(
            f"{spec[:80]!r} names no model: use anthropic:NAME, openai:NAME, offline or default",
            kind="not_configured",
            retryable=False,
            attempts=0,
        )
    return f"{provider}:{name}"


def _by_keys(settings: ModelSettings) -> str:
    if settings.anthropic_api_key:
        return "anthropic"
    return "openai" if settings.openai_api_key else OFFLINE


def _offline(_settings: ModelSettings) -> Model:
    from headrace.models.offline import OfflineModel

    return OfflineModel()


_ADAPTERS: Final[dict[str, Callable[[ModelSettings], Model]]] = {
    "anthropic": AnthropicModel,
    "openai": OpenAIModel,
    OFFLINE: _offline,
}


class Models:
    """Calls any model by its spec. One per process: adapters share their connections among all callers."""

    def __init__(
        self, settings: ModelSettings, adapters: dict[str, Callable[[ModelSettings], Model]] | None = None
    ) -> None:
        """``adapters``: makers by provider, in place of the built-in ones."""
        self._settings = settings
        self._makers = _ADAPTERS if adapters is None else adapters
        self._made: dict[str, Model] = {}

    def resolve(self, spec: str) -> str:
        """The resolved spec of ``spec``. Raises ModelError (``not_configured``)."""
        return resolve(spec, self._settings)

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        """One turn of the model that ``spec`` stands for; ``request.model`` is filled in.

        Raises:
            ModelError.
        """
        resolved = self.resolve(spec)
        provider, _, name = resolved.partition(":")
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            with spans.calling(provider, name or provider, request) as span:
                reply = await self._adapter(provider).complete(request._replace(model=name or provider))
                spans.answered(span, reply)
            outcome = "ok"
        except ModelError as error:
            outcome = error.kind
            raise
        except Exception:
            outcome = "bug"
            raise
        finally:
            MODEL_CALLS.labels(resolved, outcome).inc()
            MODEL_SECONDS.labels(resolved).observe(time.perf_counter() - started)
        _count_tokens(resolved, reply)
        return reply

    async def close(self) -> None:
        """Close all connections. Calls in flight fail."""
        made, self._made = self._made, {}
        for adapter in made.values():
            await adapter.close()

    def _adapter(self, provider: str) -> Model:
        if provider not in self._made:
            self._made[provider] = self._makers[provider](self._settings)
        return self._made[provider]


def _count_tokens(resolved: str, reply: ModelReply) -> None:
    usage = reply.usage
    for direction, count in (
        ("input", usage.input_tokens),
        ("output", usage.output_tokens),
        ("cache_read", usage.cache_read_tokens),
        ("cache_write", usage.cache_write_tokens),
    ):
        TOKENS.labels(resolved, direction).inc(count)

"""Model specs: which model a text such as ``default`` stands for, and the facade that calls it.

    anthropic:NAME  openai:NAME    that model (``anthropic`` or ``openai`` alone: the provider's default name by settings)
    offline                        the rule-based stand-in
    default                        HEADRACE_MODEL, else Anthropic or OpenAI by whose key is set, else offline

A resolved spec is one of the first three forms with a name; it is what runs record, and the label of metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace.models import Model, ModelError, ModelReply, ModelRequest, spans
from headrace.models.anthropic import AnthropicModel
from headrace.models.openai import OpenAIModel
from headrace.models.settings import ModelSettings
from headrace.observe.metrics import MODEL_CALLS, MODEL_SECONDS, TOKENS
from headrace.observe.series import Count, Distribution

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


@dataclass(frozen=True, slots=True)
class _Route:
    """One resolved spec: who answers it, and the series that count it."""

    spec: str
    provider: str
    name: str  # the provider's name for the model
    adapter: Model
    answered: Count
    seconds: Distribution
    tokens: tuple[Count, Count, Count, Count]  # input, output, cache_read, cache_write


class Models:
    """Calls any model by its spec. One per process: adapters share their connections among all callers."""

    def __init__(
        self, settings: ModelSettings, adapters: dict[str, Callable[[ModelSettings], Model]] | None = None
    ) -> None:
        """``adapters``: makers by provider, in place of the built-in ones."""
        self._settings = settings
        self._makers = _ADAPTERS if adapters is None else adapters
        self._made: dict[str, Model] = {}
        self._routes: dict[str, _Route] = {}

    def resolve(self, spec: str) -> str:
        """The resolved spec of ``spec``. Raises ModelError (``not_configured``)."""
        return resolve(spec, self._settings)

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        """One turn of the model that ``spec`` stands for; ``request.model`` is filled in.

        Raises:
            ModelError.
        """
        route = self._routes.get(spec) or self._route(spec)
        request = self._bounded(request, route)
        started = time.perf_counter()
        failure = "cancelled"
        try:
            with spans.calling(route.provider, route.name, request) as span:
                reply = await route.adapter.complete(request)
                spans.answered(span, reply)
            failure = ""
        except ModelError as error:
            failure = error.kind
            raise
        except Exception:
            failure = "bug"
            raise
        finally:
            (MODEL_CALLS.labels(route.spec, failure) if failure else route.answered).inc()
            route.seconds.observe(time.perf_counter() - started)
        _count_tokens(route, reply)
        return reply

    def _bounded(self, request: ModelRequest, route: _Route) -> ModelRequest:
        """``request`` with the model's name and what the settings say of every call."""
        most, temperature = self._settings.model_max_output_tokens, self._settings.model_temperature
        if most is not None and most < request.max_output_tokens:
            request = request._replace(max_output_tokens=most)
        if temperature is not None:
            request = request._replace(temperature=temperature)
        return request if request.model == route.name else request._replace(model=route.name)

    async def close(self) -> None:
        """Close all connections. Calls in flight fail."""
        made, self._made = self._made, {}
        self._routes.clear()
        for adapter in made.values():
            await adapter.close()

    def _route(self, spec: str) -> _Route:
        resolved = self.resolve(spec)
        provider, _, name = resolved.partition(":")
        input_, output, read, written = (
            TOKENS.labels(resolved, direction) for direction in ("input", "output", "cache_read", "cache_write")
        )
        route = self._routes[spec] = _Route(
            spec=resolved,
            provider=provider,
            name=name or provider,
            adapter=self._adapter(provider),
            answered=MODEL_CALLS.labels(resolved, "ok"),
            seconds=MODEL_SECONDS.labels(resolved),
            tokens=(input_, output, read, written),
        )
        return route

    def _adapter(self, provider: str) -> Model:
        if provider not in self._made:
            self._made[provider] = self._makers[provider](self._settings)
        return self._made[provider]


def _count_tokens(route: _Route, reply: ModelReply) -> None:
    input_, output, read, written = route.tokens
    usage = reply.usage
    input_.inc(usage.input_tokens)
    output.inc(usage.output_tokens)
    read.inc(usage.cache_read_tokens)
    written.inc(usage.cache_write_tokens)

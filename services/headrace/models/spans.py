"""The span of a model call, by OpenTelemetry's GenAI conventions: names, counts and money. Never what was asked or answered."""

from __future__ import annotations

from contextlib import AbstractContextManager

from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.observe import tracing
from headrace.observe.tracing import Span, SpanKind


def calling(provider: str, model: str, request: ModelRequest) -> AbstractContextManager[Span]:
    """Around one call, the adapter's retries included (each is an event)."""
    if not tracing.enabled():
        return tracing.NOTHING
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.output.type": "text" if request.output_schema is None else "json",
    }
    return tracing.span(f"chat {model}", SpanKind.CLIENT, attributes, error_type=_error_type)


def answered(span: Span, reply: ModelReply) -> None:
    if span is tracing.NO_SPAN:
        return
    usage = reply.usage
    tracing.describe(
        span,
        {
            "gen_ai.response.model": reply.model.partition(":")[2] or reply.model,
            "gen_ai.response.finish_reasons": (reply.stop_reason,) if reply.stop_reason else None,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "headrace.cost_usd": usage.cost_usd,
            "headrace.attempts": reply.attempts,
        },
    )


def _error_type(error: Exception) -> str:
    return error.kind if isinstance(error, ModelError) else tracing.class_name(error)

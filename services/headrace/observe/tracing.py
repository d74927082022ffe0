"""Tracing: spans of what this process does, joined over processes by W3C trace context in HTTP and record headers.

One trace is one delivery or request with everything that it led to: HTTP -> topics -> model and tool calls. ``observe.export``
turns it on; while it is off, everything here is a no-op that makes no object, and records carry the context that they came
with (``messages.headers.trace_context``). It owns the tracer and the rules of what a span may hold: names, counts, ids,
stable error codes. It refuses texts from outside: no exception is recorded, since its message may quote a prompt or a secret.

The tracer is not made OpenTelemetry's global one: the client libraries would then add spans of their own, with URLs and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace.messages.headers import trace_context

__all__ = ["NOTHING", "NO_SPAN", "Attributes", "Span", "SpanContext", "SpanKind"]

Attributes = Mapping[str, object]  # str, int, float, bool, a sequence of str; None: left out

_PROPAGATOR: Final = TraceContextTextMapPropagator()
NO_SPAN: Final = INVALID_SPAN  # takes everything, records nothing
NOTHING: Final = nullcontext(NO_SPAN)  # in place of a span while tracing is off
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Make spans with ``tracer`` from now on; None turns tracing off."""
    global _tracer
    _tracer = tracer


def enabled() -> bool:
    return _tracer is not None


def class_name(error: Exception) -> str:
    return type(error).__name__


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    links: Sequence[SpanContext] = (),
    error_type: Callable[[Exception], str] = class_name,
) -> AbstractContextManager[Span]:
    """A span that is the current one inside of the ``with``. ``parent``: default the current span, ``remote(...)`` for another's.

    An exception marks it as failed with ``error_type(exception)``; attributes that are None are left out.
    """
    if _tracer is None:
        return NOTHING
    return _current(begin(name, kind, attributes, parent=parent, links=links), error_type)


def begin(
    name: str,
    kind: SpanKind,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    links: Sequence[SpanContext] = (),
) -> Span:
    """A span that the caller ends, and makes current where it wants to."""
    if _tracer is None:
        return INVALID_SPAN
    return _tracer.start_span(
        name, context=parent, kind=kind, attributes=_given(attributes), links=[Link(context) for context in links]
    )


def make_current(span: Span) -> None:
    """``span`` is the current one for the rest of this task, and of those that it starts."""
    attach(trace.set_span_in_context(span))


def describe(span: Span, attributes: Attributes) -> None:
    """Set ``attributes``; those that are None are left out."""
    if span.is_recording():
        span.set_attributes(_given(attributes))


def fail(span: Span, error_type: str) -> None:
    """Mark ``span`` as failed. ``error_type`` is a stable code, never a text from outside."""
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def event(name: str, attributes: Attributes) -> None:
    """A moment on the current span."""
    if _tracer is not None:
        trace.get_current_span().add_event(name, _given(attributes))


def remote(headers: Mapping[str, str]) -> Context:
    """The span that HTTP or record ``headers`` name, as a parent; where they name none, the root of a new trace."""
    return _PROPAGATOR.extract(trace_context(headers), context=Context())


def current_headers() -> dict[str, str]:
    """``traceparent`` (and ``tracestate``) that name the current span."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


def add_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: ``trace_id`` and ``span_id`` of the current span, if there is one."""
    if _tracer is not None and (context := trace.get_current_span().get_span_context()).is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


@contextmanager
def _current(span: Span, error_type: Callable[[Exception], str]) -> Iterator[Span]:
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield span
    except Exception as error:
        fail(span, error_type(error))
        raise
    except BaseException:
        span.add_event("cancelled")
        raise
    finally:
        span.end()


def _given(attributes: Attributes | None) -> dict[str, Any]:
    return {name: value for name, value in (attributes or {}).items() if value is not None}

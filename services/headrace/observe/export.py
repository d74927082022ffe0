"""Turning tracing on: OpenTelemetry's SDK and its OTLP exporter over HTTP, by the standard variables.

    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT    set: tracing is on
    OTEL_TRACES_EXPORTER                                               otlp: on, also without an endpoint; none: off
    OTEL_SDK_DISABLED                                                  true: off

The SDK is imported only then; it reads the rest of its variables itself (sampler, batches, headers, service name). Spans wait in a
bounded queue for a thread that exports them; when a collector is away they are dropped, and counted, and the log says so once
a minute. The libraries' own log lines are off: they come per batch, and may quote the headers, which may hold a token.
Nothing of this may fail or delay a service: what is wrong with it is logged, and the service works without traces.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from dotenv import dotenv_values

from headrace import __version__
from headrace.observe import metrics, tracing
from headrace.observe.logging import get_logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = get_logger(__name__)

FLUSH_S: Final = 5.0
_WARN_EVERY_S: Final = 60.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN: Final = "http/protobuf"


@contextmanager
def exported(service: str, instance: str, environ: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Traces of this process go out while inside, if the environment (or ``.env``) says so; at the end what waits is flushed."""
    for name, value in dotenv_values(".env").items():
        if name.startswith("OTEL_") and value is not None:
            environ.setdefault(name, value)
    provider = _provider(service, instance, environ) if wanted(environ) else None
    try:
        yield
    finally:
        if provider is not None:
            tracing.use(None)
            _shut_down(provider)


def wanted(environ: MutableMapping[str, str]) -> bool:
    """Whether the standard variables ask for traces, in the one protocol that is spoken."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name, "").strip()), "")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if exporter not in ("", "otlp"):
        log.warning("tracing_off", reason="OTEL_TRACES_EXPORTER must be otlp or none")
        return False
    if not (exporter or endpoint):
        return False
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name, "").strip()), _SPOKEN)
    if protocol.strip() != _SPOKEN:
        log.warning("tracing_off", reason=f"only the protocol {_SPOKEN} is spoken: use the collector's HTTP port")
        return False
    return True


def _provider(service: str, instance: str, environ: MutableMapping[str, str]) -> TracerProvider | None:
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = _tracer_provider(_resource(service, instance, environ))
        provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", _Watched(OTLPSpanExporter()))))
    except Exception as error:  # a wrong value of a standard variable; its text may quote it
        log.warning("tracing_off", reason="the OTEL_* variables don't make an exporter", error=type(error).__name__)
        return None
    tracing.use(provider.get_tracer("headrace", __version__))
    log.info("tracing_on")
    return provider


def _tracer_provider(resource: Any) -> TracerProvider:
    from opentelemetry.sdk.trace import TracerProvider

    return TracerProvider(resource=resource, shutdown_on_exit=False)  # its own has no bound in time


def _resource(service: str, instance: str, environ: MutableMapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        "service.name": f"headrace-{service}",
        "service.namespace": "headrace",
        "service.instance.id": f"{service}-{instance}",
        "service.version": __version__,
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())  # what the operator says goes before ours


def _shut_down(provider: TracerProvider) -> None:
    """Flush what waits, for ``FLUSH_S`` at most: a collector that is away must not hold up a stop."""
    thread = threading.Thread(target=provider.shutdown, name="traces-flush", daemon=True)
    thread.start()
    thread.join(FLUSH_S)
    if thread.is_alive():
        log.warning("spans_not_flushed", waited_s=FLUSH_S)


class _Watched:
    """A ``SpanExporter`` around another: counts what went out and what was lost, and says the latter once in a while."""

    def __init__(self, exporter: SpanExporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._exporter = exporter
        self._clock = clock
        self._silent_until = 0.0
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        done = result is SpanExportResult.SUCCESS
        metrics.SPANS.labels("exported" if done else "lost").inc(len(spans))
        if not done:
            self._note_lost(len(spans))
        return result

    def _note_lost(self, count: int) -> None:
        self._lost += count
        if self._clock() >= self._silent_until:
            log.warning("spans_lost", spans=self._lost, reason="the collector is away or refuses them")
            self._silent_until = self._clock() + _WARN_EVERY_S
            self._lost = 0

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

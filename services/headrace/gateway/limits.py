"""Rate limits: how many records a second this process takes in, from one webhook source and in all.

A token bucket each, counted in records, asked once it is sure who sends and that a record would come of it: a stranger's attempts
use up nobody's room. A bucket lets a request in whenever it has room for one record, and may then owe: so a batch larger than the
bucket passes too, and what comes after it waits longer. Both buckets have to have room, or neither is drawn from.

What does not fit is refused with ``Retry-After``, never dropped in silence. An API's caller gets 429. A webhook's sender gets 429
only where it is known to send again after one (``retries_429`` in its file), else 503, which all that send again do so for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from headrace.gateway.problems import HttpError
from headrace.gateway.settings import GatewaySettings
from headrace.gateway.sources.load import WebhookSource
from headrace.gateway.sources.model import SourceConfig
from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger
from headrace.observe.metrics import GATEWAY_LIMITED

log = get_logger(__name__)
API: Final = "api"  # the metric's label for what is not a webhook
Clock = Callable[[], float]


class Bucket:
    """``rate`` records a second, at most ``burst`` at once from rest; ``now`` is seconds of a clock that never goes back."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until it has room for one record; 0: a request may pass."""
        self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.rate)
        self._at = now
        return max(0.0, (1 - self._level) / self.rate)

    def take(self, records: int) -> None:
        self._level -= records


class RateLimits:
    """The limits of one process. With no rate set, asking costs a look into an empty dict.

    Raises:
        FatalError: ``HEADRACE_GATEWAY_SOURCE_RATE_OF`` names something that is no source.
    """

    def __init__(self, settings: GatewaySettings, sources: Mapping[str, WebhookSource], clock: Clock) -> None:
        self._clock = clock
        if unknown := sorted(settings.gateway_source_rate_of.keys() - sources.keys()):
            raise FatalError(f"HEADRACE_GATEWAY_SOURCE_RATE_OF names {unknown[0]!r}, which is no webhook source")
        self._all = self._bucket(settings.gateway_rate, settings)
        rates = {name: _rate_of(source.config, settings) for name, source in sources.items()}
        made = {name: self._bucket(rate, settings) for name, rate in rates.items()}
        self._of_source = {name: bucket for name, bucket in made.items() if bucket is not None}

    def _bucket(self, rate: float, settings: GatewaySettings) -> Bucket | None:
        return Bucket(rate, max(1.0, rate * settings.gateway_burst_s), self._clock()) if rate else None

    def delivery(self, source: SourceConfig) -> None:
        """One authentic delivery. Raises ``HttpError`` 429 or 503, whichever this sender sends again after."""
        status = 429 if source.retries_429 else 503
        self._admit(self._of_source.get(source.name), 1, source.name, status)

    def request(self, records: int = 1) -> None:
        """An API request of so many records. Raises ``HttpError`` 429."""
        self._admit(None, records, API, 429)

    def _admit(self, own: Bucket | None, records: int, who: str, status: int) -> None:
        buckets = [bucket for bucket in (own, self._all) if bucket is not None]
        if not buckets:
            return
        now = self._clock()
        if seconds := max(bucket.wait(now) for bucket in buckets):
            GATEWAY_LIMITED.labels(who).inc()
            log.warning("request_limited", door=who)
            headers = {"Retry-After": str(math.ceil(seconds))}
            raise HttpError(status, "rate_limited", "more than may come at once; try again", headers=headers)
        for bucket in buckets:
            bucket.take(records)


def _rate_of(source: SourceConfig, settings: GatewaySettings) -> float:
    """The operator's word for this source, else the source file's, else the operator's for all."""
    given = settings.gateway_source_rate_of.get(source.name, source.max_per_s)
    return settings.gateway_source_rate if given is None else given

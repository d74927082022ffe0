"""One retry policy for all providers; the client libraries' own retries are switched off.

An attempt that fails raises ``AttemptFailed`` with a kind from ``KINDS``. Kinds that a later attempt may mend are tried again after
an exponential back-off with jitter, or after what the provider asked for in Retry-After if that is longer. The whole call,
sleeps included, stays within its budget in seconds: a wait that would end past it is not begun. What is left over is a
``ModelError``, never with the failed attempt as its cause, since a client library's exception holds the request and its key.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from headrace.models import ModelError
from headrace.observe import tracing

T = TypeVar("T")

_ANY: Final = 1_000
KINDS: Final[dict[str, int]] = {  # kind -> most attempts that it is worth
    "rate_limited": _ANY,
    "overloaded": _ANY,
    "timeout": _ANY,
    "connection": _ANY,
    "server_error": _ANY,
    "bad_response": 2,  # a garbled answer may be a proxy's hiccup; a second one is how that server answers
    "bad_request": 1,
    "authentication": 1,
    "not_found": 1,
    "context_length": 1,
    "not_configured": 1,
}


class AttemptFailed(Exception):
    """One attempt failed. ``retry_after`` is in seconds, as the provider asked. ``message`` is clean of secrets."""

    def __init__(self, message: str, kind: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Up to ``attempts`` tries; waits double from ``base_s`` to ``cap_s``. Clock, sleep and randomness are injected."""

    attempts: int = 4
    base_s: float = 0.5
    cap_s: float = 8.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    async def run(self, attempt: Callable[[float], Awaitable[T]], budget_s: float) -> tuple[T, int]:
        """Await ``attempt(seconds left)`` until it succeeds; returns its value and how many tries that took.

        Raises:
            ModelError: when no further attempt helps, is allowed, or fits into the budget.
        """
        deadline = self.clock() + budget_s
        tries = 0
        while True:
            tries += 1
            try:
                return await attempt(deadline - self.clock()), tries
            except AttemptFailed as error:
                failed = error
            delay = self.delay(tries, failed.retry_after)
            if tries >= min(self.attempts, KINDS[failed.kind]) or self.clock() + delay >= deadline:
                raise _final(failed, tries) from None
            facts = {"error.type": failed.kind, "headrace.attempt": tries, "headrace.retry_in_s": delay}
            tracing.event("retry", facts)
            await self.sleep(delay)

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Seconds to wait after the ``tries``-th failure. Retry-After is a floor, spread so that callers don't come at once."""
        backoff = min(self.cap_s, self.base_s * 2.0 ** (tries - 1))
        if retry_after is not None and retry_after >= backoff:
            return retry_after + self.base_s * self.random()
        return max(retry_after or 0.0, backoff * (0.5 + 0.5 * self.random()))


def _final(failed: AttemptFailed, tries: int) -> ModelError:
    return ModelError(
        str(failed),
        kind=failed.kind,
        retryable=KINDS[failed.kind] > 1,
        status=failed.status,
        attempts=tries,
        retry_after=failed.retry_after,
    )

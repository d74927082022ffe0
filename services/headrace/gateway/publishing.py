"""Handing records to Kafka, seen from HTTP: acknowledged, or 503 and none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.gateway.ports import Deps
from headrace.gateway.problems import unavailable
from headrace.messages.errors import TransientError
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)
_SHARE: Final = 0.8  # of a caller's patience that waiting for the broker may use


async def publish(deps: Deps, sends: Sequence[Send], *, within_s: float | None = None) -> None:
    """Returns when the broker has acknowledged all of ``sends``, in one transaction. Raises ``HttpError`` 503.

    ``within_s`` is how long the caller waits for its answer, where that is known.
    """
    timeout_s = deps.settings.gateway_publish_timeout_s
    if within_s is not None:
        timeout_s = min(
            timeout_s, within_s * _SHARE
        )  # a 503 that is heard is better than an answer that nobody waits for
    try:
        await deps.publisher.publish(sends, timeout_s=timeout_s)
    except (TransientError, TimeoutError) as error:
        log.warning("publish_failed", records=len(sends), reason=type(error).__name__)
        raise unavailable("the event log") from None

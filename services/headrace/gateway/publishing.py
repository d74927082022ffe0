"""Handing records to Kafka, seen from HTTP: acknowledged, or 503 and none of them."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.gateway.ports import Deps
from headrace.gateway.problems import unavailable
from headrace.messages.errors import TransientError
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)


async def publish(deps: Deps, sends: Sequence[Send]) -> None:
    """Returns when the broker has acknowledged all of ``sends``, in one transaction. Raises ``HttpError`` 503."""
    try:
        await deps.publisher.publish(sends, timeout_s=deps.settings.gateway_publish_timeout_s)
    except (TransientError, TimeoutError) as error:
        log.warning("publish_failed", records=len(sends), reason=type(error).__name__)
        raise unavailable("the event log") from None

"""Putting on record who replays what: before anything of it is done, so that there is no replay without its record; then how it
ended. A process that is killed leaves the first of the two.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from headrace.messages.errors import BadMessage, HeadraceError
from headrace.messages.replay import ActionKind, Phase, ReplayAction
from headrace.registry.publish import connected
from headrace.runtime.api import Send
from headrace.settings import MeshSettings

SERVICE: Final = "replay"
_PUBLISH_S: Final = 30.0
_LAST_WORD_S: Final = 10.0
_MAX_RANGE: Final = 256


class Tally:
    """``records`` is to be set by whoever does the work."""

    def __init__(self) -> None:
        self.records: int | None = None


@asynccontextmanager
async def on_record(
    settings: MeshSettings, kind: ActionKind, by: str, *, range: str | None = None, **about: Any
) -> AsyncIterator[Tally]:
    """Around a replay. ``about`` are further fields of ``ReplayAction``.

    Raises ``DependencyUnavailable`` where the beginning can't be put on record: nothing is begun then.
    """
    action = ReplayAction(
        tenant=settings.tenant,
        action_id=uuid.uuid4().hex,
        kind=kind,
        phase="begun",
        by=by[:_MAX_RANGE],
        range=range[:_MAX_RANGE] if range else None,
        at=_now(),
        **about,
    )
    await _publish(settings, action)
    tally = Tally()
    try:
        yield tally
    except BaseException as error:
        with suppress(HeadraceError, TimeoutError):  # what went wrong is to be told, and soon
            async with asyncio.timeout(_LAST_WORD_S):
                await _publish(settings, _ended(action, tally, _phase(error), error=_code(error)))
        raise
    await _publish(settings, _ended(action, tally, "completed"))


def _ended(action: ReplayAction, tally: Tally, phase: Phase, **fields: Any) -> ReplayAction:
    return action.replace(phase=phase, records=tally.records, at=_now(), **fields)


def _phase(error: BaseException) -> Phase:
    return "interrupted" if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else "failed"


def _code(error: BaseException) -> str | None:
    if _phase(error) == "interrupted":
        return None
    return error.cause if isinstance(error, BadMessage) else type(error).__name__


async def _publish(settings: MeshSettings, action: ReplayAction) -> None:
    """A publisher for each record: replays take hours, and a transactional id of its own costs a second."""
    apart = settings.model_copy(update={"instance": action.action_id})
    async with connected(apart, SERVICE) as publisher:
        await publisher.publish([Send(action)], timeout_s=_PUBLISH_S)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""The loop of all background work: what it logs of an outage, and when it goes on at once."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from headrace.messages.errors import DependencyUnavailable
from headrace.postgres.repeated import repeated

_LONG = 3_600.0


class Work:
    """Rounds by script: how much was done, or None while the server is away. ``over`` once all were made."""

    def __init__(self, *rounds: int | None) -> None:
        self._rounds = list(rounds)
        self.over = asyncio.Event()

    async def __call__(self) -> int:
        if len(self._rounds) <= 1:
            self.over.set()
        done = self._rounds.pop(0) if self._rounds else 0
        if done is None:
            raise DependencyUnavailable("away")
        return done


async def test_an_outage_is_logged_once_at_its_beginning_and_once_at_its_end() -> None:
    work = Work(0, None, None, None, 0, 0, None, 0, 0)
    with capture_logs() as logs:
        async with repeated(work, every_s=0, name="a-sweep", failed="sweep_failed"):
            await asyncio.wait_for(work.over.wait(), 30)
    began = {"event": "sweep_failed", "reason": "away", "log_level": "warning"}
    ended = {"event": "outage_over", "task": "a-sweep", "log_level": "info"}
    assert logs == [began, ended, began, ended]


async def test_a_full_batch_goes_on_at_once() -> None:
    work, short, never = Work(5, 6, 4), Work(5, 4, 5), Work(5, 5)
    async with (
        repeated(work, every_s=_LONG, name="a", failed="f", full=5),
        repeated(short, every_s=_LONG, name="b", failed="f", full=5),
        repeated(never, every_s=_LONG, name="c", failed="f"),
    ):
        await asyncio.wait_for(work.over.wait(), 30)
    assert not short.over.is_set(), "a batch that is not full waits for its time"
    assert not never.over.is_set()

"""The service ``replay``: takes jobs from the table and has a child process work on each.

It decides nothing of a job and holds nothing that could be lost: a job whose service or child is killed is taken up by whichever
replica comes first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Final

from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replay
from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger
from headrace.replay.jobs.child import Child
from headrace.replay.settings import ReplaySettings
from headrace.settings import MeshSettings

log = get_logger(__name__)
_PAUSE_S: Final = 5.0  # before the next job, where a child could not go on


class ReplayService:
    """A ``Component``. ``leases`` makes what one child holds, by the holder's name."""

    name = "replay"

    def __init__(self, settings: MeshSettings, own: ReplaySettings, leases: Callable[[str], Leases]) -> None:
        self._settings = settings
        self._own = own
        self._leases = leases
        self._slots: list[asyncio.Task[None]] = []
        self._jobs: set[str] = set()
        self._reached = False

    async def start(self) -> None:
        self._slots = [
            *(asyncio.create_task(self._serve(number)) for number in range(self._own.jobs)),
            *(asyncio.create_task(self._follow()) for _ in range(self._own.follows)),
        ]

    async def wait(self) -> None:
        await asyncio.gather(*self._slots, return_exceptions=True)

    async def stop(self) -> None:
        """The children drain, and others take up their jobs."""
        for slot in self._slots:
            slot.cancel()
        await self.wait()

    def ready(self) -> bool:
        """Whether the table could be read."""
        return self._reached

    def status(self) -> dict[str, Any]:
        return {"replays": sorted(self._jobs)}

    async def _serve(self, number: int) -> None:
        """One slot: a job after the other. Where there is none, it helps with one that another slot or instance has begun."""
        while True:
            leases = self._new_leases()
            if job := await self._take(leases, follows=False):
                await self._work(job, leases)
            elif not await self._help(number, leases):
                await asyncio.sleep(self._own.poll_seconds)

    async def _follow(self) -> None:
        """One slot for what has no end."""
        while True:
            leases = self._new_leases()
            if job := await self._take(leases, follows=True):
                await self._work(job, leases)
            else:
                await asyncio.sleep(self._own.poll_seconds)

    def _new_leases(self) -> Leases:
        return self._leases(f"{self._settings.instance}-{uuid.uuid4().hex[:12]}")

    async def _take(self, leases: Leases, *, follows: bool) -> Replay | None:
        try:
            job = await leases.take(self._settings.tenant, follows=follows)
        except HeadraceError as error:
            if self._reached:
                log.warning("replays_not_read", reason=str(error))
            self._reached = False
            return None
        self._reached = True
        return job

    async def _work(self, job: Replay, leases: Leases) -> None:
        log.info("replay_taken", replay_id=job.replay_id, kind=job.kind, state=job.state, started_by=job.started_by)
        self._jobs.add(job.replay_id)
        child = await Child.start(self._settings, job.replay_id, leases.holder, leases.lease_s)
        try:
            code = await child.wait()
        finally:
            await child.stop()
            self._jobs.discard(job.replay_id)
            log.info("replay_left", replay_id=job.replay_id)
        if code:
            await asyncio.sleep(_PAUSE_S)

    async def _help(self, number: int, leases: Leases) -> bool:
        """Until the job is over, or another one waits. Whether there was one to help with."""
        try:
            replay_id = await leases.to_help(self._settings.tenant)
        except HeadraceError:
            return False
        if replay_id is None:
            return False
        apart = self._settings.model_copy(update={"instance": f"{self._settings.instance}-help-{number}"})
        child = await Child.start(apart, replay_id, None, leases.lease_s)
        ended = asyncio.ensure_future(child.wait())
        try:
            while not ended.done() and not await self._waiting(leases):
                await asyncio.wait([ended], timeout=self._own.poll_seconds)
        finally:
            await child.stop()
            await asyncio.gather(ended, return_exceptions=True)
        return True

    async def _waiting(self, leases: Leases) -> bool:
        """Whether a job waits for somebody."""
        try:
            return await leases.any_free(self._settings.tenant)
        except HeadraceError:
            return False

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
            *(asyncio.create_task(self._serve(follows=False)) for _ in range(self._own.jobs)),
            *(asyncio.create_task(self._serve(follows=True)) for _ in range(self._own.follows)),
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

    async def _serve(self, *, follows: bool) -> None:
        """One slot: a job after the other."""
        while True:
            leases = self._leases(f"{self._settings.instance}-{uuid.uuid4().hex[:12]}")
            job = await self._take(leases, follows=follows)
            if job is None:
                await asyncio.sleep(self._own.poll_seconds)
            elif await self._work(job, leases):
                await asyncio.sleep(_PAUSE_S)

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

    async def _work(self, job: Replay, leases: Leases) -> int:
        """The child's exit code."""
        log.info("replay_taken", replay_id=job.replay_id, kind=job.kind, state=job.state, started_by=job.started_by)
        self._jobs.add(job.replay_id)
        child = await Child.start(self._settings, job.replay_id, leases.holder, leases.lease_s)
        try:
            return await child.wait()
        finally:
            code = await child.stop()
            self._jobs.discard(job.replay_id)
            log.info("replay_left", replay_id=job.replay_id, exit_code=code)

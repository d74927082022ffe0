"""Work on a job for as long as it is held: the lease is renewed beside the work, and with the lease the work ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replay
from headrace.messages.errors import DependencyUnavailable, TransientError
from headrace.observe.logging import get_logger
from headrace.replay.jobs.progress import Progress

T = TypeVar("T")
log = get_logger(__name__)
_RENEWALS: Final = 5  # within a lease: a few may fail


async def kept(leases: Leases, job: Replay, progress: Progress, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; cancelled, it is given the time to stop cleanly.

    Raises:
        LeaseLost: the job was cancelled or is somebody else's; ``work`` has stopped.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=leases.lease_s / _RENEWALS)
            if not task.done():
                await _renewed(leases, job, progress)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _renewed(leases: Leases, job: Replay, progress: Progress) -> None:
    try:
        await leases.renew(job, progress.facts())
    except (DependencyUnavailable, TransientError) as error:  # nobody else can take it now either
        log.warning("replay_lease_not_renewed", replay_id=job.replay_id, reason=str(error))

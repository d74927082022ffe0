"""A job of either kind from where it is to its end, and what becomes of its errors."""

from __future__ import annotations

import asyncpg

from headrace.control.replays.leases import LeaseLost, Leases
from headrace.control.replays.requests import RerunRequest, request_of
from headrace.control.replays.states import Said
from headrace.control.replays.store import Replay
from headrace.messages.errors import BadMessage, FatalError
from headrace.observe.logging import get_logger
from headrace.replay.jobs.keep import kept
from headrace.replay.jobs.progress import Progress
from headrace.replay.jobs.rerun import rerun_done
from headrace.replay.jobs.shadow import ShadowWork
from headrace.settings import MeshSettings

log = get_logger(__name__)


async def work_on(settings: MeshSettings, pool: asyncpg.Pool, leases: Leases, job: Replay) -> None:
    """Returns when the job has ended, waits for a yes, or is not ours any more.

    Raises:
        DependencyUnavailable, TransientError: a server is away; the job waits for whoever takes it up.
    """
    progress = Progress()
    try:
        said = await kept(leases, job, progress, _done(settings, pool, leases, job, progress))
        await leases.renew(job, progress.facts())
        await leases.say(job, said)
        log.info("replay_ended", replay_id=job.replay_id, said=said)
    except LeaseLost as lost:
        log.info("replay_left", replay_id=job.replay_id, reason=str(lost))
    except (BadMessage, FatalError) as error:
        await _failed(leases, job, str(error))


async def _done(settings: MeshSettings, pool: asyncpg.Pool, leases: Leases, job: Replay, progress: Progress) -> Said:
    request = request_of(job.request)
    if isinstance(request, RerunRequest):
        return await rerun_done(settings, leases, job, request, progress)
    return await ShadowWork(settings, pool, leases, job, progress).done(request)


async def _failed(leases: Leases, job: Replay, why: str) -> None:
    log.warning("replay_failed", replay_id=job.replay_id, reason=why)
    try:
        await leases.say(job, "fail", error=why)
    except LeaseLost as lost:
        log.info("replay_left", replay_id=job.replay_id, reason=str(lost))

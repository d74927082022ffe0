"""A job of whatever kind from where it is to its end, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg

from headrace.control.replays.leases import LeaseLost, Leases
from headrace.control.replays.requests import (
    Asked,
    BulkCancelRequest,
    BulkRerunRequest,
    DropRequest,
    RebuildRequest,
    RedriveRequest,
    RepriceRequest,
    RerunRequest,
    ShadowRequest,
    SwapRequest,
    request_of,
)
from headrace.control.replays.states import Said
from headrace.control.replays.store import Replay
from headrace.messages.errors import BadMessage, FatalError
from headrace.observe.logging import get_logger
from headrace.replay.jobs.bulk import cancel_all, rerun_all
from headrace.replay.jobs.held import Held
from headrace.replay.jobs.indexes import build_beside, drop_kept, swap_in
from headrace.replay.jobs.keep import kept
from headrace.replay.jobs.progress import Progress
from headrace.replay.jobs.redrive import redrive_all
from headrace.replay.jobs.reprice import reprice_all
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
        said = await kept(leases, job, progress, _done(Held(settings, pool, leases, job, progress)))
        await leases.renew(job, progress.facts())
        await leases.say(job, said)
        log.info("replay_ended", replay_id=job.replay_id, said=said)
    except LeaseLost as lost:
        log.info("replay_left", replay_id=job.replay_id, reason=str(lost))
    except (BadMessage, FatalError) as error:
        await _failed(leases, job, str(error))


async def _done(held: Held) -> Said:
    request = request_of(held.job.request)
    return await KINDS[type(request)](held, request)


async def _shadow(held: Held, request: ShadowRequest) -> Said:
    return await ShadowWork(held.settings, held.pool, held.leases, held.job, held.progress).done(request)


KINDS: Final[Mapping[type[Asked], Callable[[Held, Any], Awaitable[Said]]]] = {
    ShadowRequest: _shadow,
    RerunRequest: rerun_done,
    BulkRerunRequest: rerun_all,
    BulkCancelRequest: cancel_all,
    RepriceRequest: reprice_all,
    RebuildRequest: build_beside,
    SwapRequest: swap_in,
    DropRequest: drop_kept,
    RedriveRequest: redrive_all,
}


async def _failed(leases: Leases, job: Replay, why: str) -> None:
    log.warning("replay_failed", replay_id=job.replay_id, reason=why)
    try:
        await leases.say(job, "fail", error=why)
    except LeaseLost as lost:
        log.info("replay_left", replay_id=job.replay_id, reason=str(lost))

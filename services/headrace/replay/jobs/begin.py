"""The beginning of a replay's work, of whatever kind and wherever it is done: the one place that every job passes."""

from __future__ import annotations

from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replay
from headrace.observe.logging import get_logger

log = get_logger(__name__)


async def begun(leases: Leases, job: Replay) -> None:
    """The job is running from now on; also called where it is taken up again (``job.began_at`` is set then).

    Raises:
        LeaseLost: it may not begin.
    """
    await leases.say(job, "begin")
    log.info(
        "replay_begun",
        replay_id=job.replay_id,
        kind=job.kind,
        agent=job.agent_name or None,
        started_by=job.started_by,
        again=job.began_at is not None,
    )

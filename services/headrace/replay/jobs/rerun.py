"""Stored runs over their records again, as a job. One that is cut off begins again: it asks nobody and costs nothing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from headrace.control.replays.requests import RerunRequest
from headrace.control.replays.states import Said
from headrace.history.stored import open_history
from headrace.reasoning.settings import ReasoningSettings
from headrace.registry.follow import followed_catalog
from headrace.replay.actions import on_record
from headrace.replay.jobs.begin import begun
from headrace.replay.jobs.held import Held
from headrace.replay.regression import Regression, Tally

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


async def rerun_done(held: Held, request: RerunRequest) -> Said:
    """Work of the kind ``rerun``. Its estimate is how many runs there are."""
    settings, leases, job, progress = held.settings, held.leases, held.job, held.progress
    since = request.since or _EPOCH
    span = f"since {since.isoformat()}"
    async with open_history(settings) as history, followed_catalog(settings) as catalog:
        total = await history.count(since, request.agent)
        await leases.settled(job, "{}", {"runs": total})
        if job.dry_run:
            return "plan"
        await begun(leases, job)
        progress.phase = "re-running"
        progress.of(total)
        async with on_record(settings, "rerun", job.started_by, agent=request.agent, range=span) as done:
            work = Regression(history, catalog, ReasoningSettings())
            tally = await work.rerun_all(history.pages(since, request.agent), lambda tally: progress.told(tally.runs))
            done.records = tally.runs
    await leases.reported(job, tally_facts(tally), None)
    return "complete"


def tally_facts(tally: Tally) -> dict[str, Any]:
    """As JSON."""
    return {
        "ok": tally.ok,
        "runs": tally.runs,
        "verdicts": {verdict: count for verdict, count in sorted(tally.verdicts.items()) if count},
        "records": tally.records,
        "bytes_read": tally.bytes_read,
        "seconds": round(tally.seconds, 3),
        "runs_per_s": round(tally.rate, 1),
        "diverged": [asdict(rerun) for rerun in tally.diverged],
        "broken": tally.broken,
    }

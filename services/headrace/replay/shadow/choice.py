"""Which event of the range is replayed, and why another is not. Pure: the same event always gets the same answer."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from headrace.messages.agent import AgentDefinition, Trigger
from headrace.messages.event import Event
from headrace.messages.ids import triggered_job_id
from headrace.messages.job import Job, JobContext
from headrace.registry.filters import FilterFailed, compile_filter
from headrace.registry.triggers import match, view
from headrace.replay.shadow.plan import ShadowPlan

_LONGEST_SESSION: Final = 256  # characters, as for a job's
Reason = Literal["tenant", "trigger", "cohort", "sample"]


def skipped(plan: ShadowPlan, event: Event) -> Reason | None:
    """Why ``event`` is not replayed; None if it is."""
    if event.tenant != plan.tenant:
        return "tenant"
    if not any(match(event, trigger, agent=plan.agent) for trigger in plan.candidate.triggers):
        return "trigger"
    if plan.cohort is not None and not match(event, Trigger(type="*", filter=plan.cohort)):
        return "cohort"
    return None if _share(_drawn(plan, event), "sample") < plan.sample else "sample"


def in_baseline(plan: ShadowPlan, event: Event) -> bool:
    """Whether the unchanged definition is run over a replayed event too."""
    return _share(_drawn(plan, event), "baseline") < plan.baseline


def session_of(plan: ShadowPlan, event: Event) -> str | None:
    """The session that the plan's expression names, with text or a number; None where it names none."""
    if plan.session is None:
        return None
    try:
        found = compile_filter(plan.session).value(view(event))
    except FilterFailed:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return str(found) if 0 < len(str(found)) <= _LONGEST_SESSION else None


def shadow_job(plan: ShadowPlan, event: Event, definition: AgentDefinition, replay_id: str) -> Job:
    """The job that ``definition`` gets for ``event``.

    Its session id is the id of the live run, which stands in the live run's prompt where there is no session: so that the model
    reads the same text, and asks tools for the same.
    """
    return Job(
        job_id=triggered_job_id(event.uid, definition.name, definition.version, replay_id),
        tenant=event.tenant,
        agent=definition.name,
        agent_version=definition.version,
        event=event,
        partition_key=event.partition_key,
        created_at=event.time,
        timeout_sec=definition.limits.timeout_s,
        context=JobContext(session_id=triggered_job_id(event.uid, plan.live.name, plan.live.version)),
        replay_id=replay_id,
    )


def _drawn(plan: ShadowPlan, event: Event) -> str:
    """What a sample is drawn of: whole sessions, since a conversation with holes in it says nothing; else events."""
    session = session_of(plan, event)
    return event.uid if session is None else f"session:{session}"


def _share(uid: str, salt: str) -> float:
    """A number in [0, 1) that ``uid`` always has, evenly spread."""
    digest = hashlib.sha256(f"{salt}:{uid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

"""The job of a fork, from the records of the run that it leaves. Pure: the same request over the same records is the same job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.forks.edits import CantFork, Edits
from headrace.messages import ids
from headrace.messages.base import JsonObject, Message
from headrace.messages.fork import Fork, Taken
from headrace.messages.job import Job
from headrace.messages.lineage import ForkedFrom
from headrace.messages.run import Progress, RunInfo, ToolCalls, ToolOutcome, ToolResults
from headrace.messages.wait import RunWait


@dataclass(frozen=True, slots=True)
class Asked:
    """``at``: the model turn whose tool results the fork goes on from, 0 for the job, None for where the run began.

    ``replay_id``: another fork of the same, as one of many that are run again together. ``by``: who asks, as a credential's id.
    """

    at: int | None = None
    edits: Edits = field(default_factory=Edits)
    replay_id: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """``job`` begins the fork."""

    job: Job
    origin: ForkedFrom
    taken: Taken | None

    def facts(self) -> JsonObject:
        """What is taken from the other run, and what is made anew; JSON-ready."""
        turn = self.taken
        return {
            "run_id": self.job.job_id,
            "agent": f"{self.job.agent}@{self.job.agent_version}",
            "forked_from": {"run_id": self.origin.run_id, "step": self.origin.step},
            "edited": list(self.origin.edited),
            "taken": {
                "model_turns": self.origin.step,
                "tool_results": [outcome.call_id for outcome in turn.results] if turn else [],
            },
            "anew": {
                "tool_calls": [call.call_id for call in turn.open_calls] if turn else [],
                "from": "job" if turn is None else "tool_calls" if turn.open_calls else "model",
            },
        }


def planned(job: Job, version: str | None, records: Sequence[Message], asked: Asked) -> Planned:
    """The fork of the run that ``job`` began and that took ``version`` of its agent.

    ``records``: of that run, in any order; those of other steps are passed over. Raises ``CantFork``.
    """
    began = job.fork.origin.step if job.fork else 0
    at = began if asked.at is None else asked.at
    _check(job, at, began, asked.edits)
    fork = _at_beginning(job, asked, at) if at == began else _at_turn(job, records, asked, at)
    made = job.replace(
        job_id=ids.forked_job_id(job.tenant, job.job_id, at, asked.edits.digest, asked.replay_id),
        agent_version=asked.edits.version or version or job.agent_version,
        **_work(job, asked.edits),
        replay_id=asked.replay_id,
        fork=fork,
        **_ALONE,
        context=job.context.replace(session_id=None),
    )
    return Planned(made, fork.origin, fork.taken)


# A fork answers to nobody but who asked for it: not to a workflow, a session, a parent, a topic of replies.
_ALONE = {
    "run_id": None,
    "node_id": None,
    "workflow_tag": None,
    "workflow_owner": None,
    "family": None,
    "reply_to": None,
    "idempotency_key": None,
    "double_texting": None,
    "stream_tokens": False,
    "created_at": None,
}


def _check(job: Job, at: int, began: int, edits: Edits) -> None:
    if at < began:
        origin = job.fork.origin.run_id if job.fork else ""
        raise CantFork(f"the run is a fork and begins at step {began}; what is before that is of run {origin}")
    if at > 0 and job.call is not None:
        raise CantFork("the run is one tool call without a model: fork it at 0")
    if at > 0 and (edits.input is not None or edits.prompt is not None):
        where = "/input" if edits.input is not None else "/prompt"
        raise CantFork("input and prompt can be changed at step 0 only: later turns have read them", where)
    if at == 0 and edits.tool_results:
        raise CantFork("at step 0 there are no tool results", "/tool_results")


def _work(job: Job, edits: Edits) -> JsonObject:
    """The job's input and prompt; one that is given takes the place of both."""
    if edits.input is None and edits.prompt is None:
        return {}
    event = None if edits.input is not None and job.input is None and job.prompt is None else job.event
    return {"input": edits.input, "prompt": edits.prompt, "event": event}


def _origin(job: Job, asked: Asked, at: int) -> ForkedFrom:
    return ForkedFrom(run_id=job.job_id, step=at, by=asked.by, edited=asked.edits.names)


def _at_beginning(job: Job, asked: Asked, at: int) -> Fork:
    if job.fork is None:
        return Fork(origin=_origin(job, asked, at))
    return job.fork.replace(
        origin=_origin(job, asked, at), taken=job.fork.taken and _edited(job.fork.taken, asked.edits)
    )


def _edited(taken: Taken, edits: Edits) -> Taken:
    results = edits.outcomes(taken.calls, taken.results)
    counted = not taken.open_calls or len(results) < len(taken.calls)
    return taken.replace(results=results, progress=_own(taken.progress, results, calls_made=counted))


def _at_turn(job: Job, records: Sequence[Message], asked: Asked, at: int) -> Fork:
    found = [one for one in records if isinstance(one, ToolCalls | RunWait | ToolResults) and one.progress.step == at]
    turns = [one for one in found if not isinstance(one, ToolResults)]
    answers = next((one for one in found if isinstance(one, ToolResults)), None)
    if not turns:
        raise CantFork(f"the run has no records of tool calls at step {at} (any more)")
    newest = max(turns, key=lambda one: (one.round, isinstance(one, RunWait)))
    calls = min(turns, key=lambda one: (one.round, isinstance(one, RunWait))).calls  # as the model asked for them
    source = answers or newest
    results = asked.edits.outcomes(calls, source.results)
    return Fork(
        origin=_origin(job, asked, at),
        taken=Taken(
            progress=_own(source.progress, results, calls_made=answers is not None or len(results) < len(calls)),
            transcript=source.transcript,
            calls=calls,
            results=results,
        ),
        **_found(source.run),
    )


def _found(run: RunInfo) -> JsonObject:
    return {"session": run.session, "toolset_ref": run.toolset_ref}


def _own(progress: Progress, results: tuple[ToolOutcome, ...], *, calls_made: bool) -> Progress:
    """How far the run is, without what it has used. Calls count once their turn is over: ``calls_made`` says they are counted,
    or will be.
    """
    calls = progress.tool_calls if calls_made else progress.tool_calls + len(results)
    return Progress(step=progress.step, tool_calls=calls, repairs=progress.repairs)

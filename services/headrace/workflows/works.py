"""What a run's commands become on topics: jobs for agents and tools, signals for everybody else. Pure.

agent, tool   ``agent.jobs``, with the work's id for a job id; the answer is on ``agent.results``
workflow      ``start`` to the run that has the work's id for its own
task          ``task``, for somebody outside
the end       ``finished`` to the run above, if there is one
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import orjson

from headrace.messages.base import JsonObject
from headrace.messages.job import Job
from headrace.messages.workflow import TaskAsked, WorkDone, WorkError, WorkflowSignal, WorkParent, WorkStart
from headrace.runtime.api import Send
from headrace.workflows.events import Begin, Command, End, Stop
from headrace.workflows.runs import Pinned

_TIMEOUT_S: Final = 3_600.0  # of a job whose node has no timeout; its agent's own limit is usually less
_MAX_TIMEOUT_S: Final = 86_400.0


def sends(run: Pinned, owner: str, commands: Iterable[Command]) -> list[Send]:
    """The messages of ``commands``. The same commands give the same messages."""
    return [send for command in commands for send in _sends(run, owner, command)]


def cancelled_jobs(commands: Iterable[Command]) -> list[str]:
    """The runs of agents that are not wanted any more."""
    return [command.work_id for command in commands if isinstance(command, Stop) and command.type in ("agent", "tool")]


def _sends(run: Pinned, owner: str, command: Command) -> Iterator[Send]:
    match command:
        case Begin():
            yield Send(_begin(run, owner, command))
        case Stop(type="workflow"):
            id_ = f"{command.work_id}:cancel"
            yield Send(WorkflowSignal(tenant=run.tenant, run_id=command.work_id, id=id_, kind="cancel"))
        case End() if run.start.parent is not None:
            parent = run.start.parent
            error = command.error
            if error is None and command.status != "completed":
                error = WorkError(type=command.status)
            yield Send(finished(run.tenant, parent, command.output, error))


def finished(tenant: str, parent: WorkParent, output: Any, error: WorkError | None) -> WorkflowSignal:
    """What the run above is told of the end of a piece of its work."""
    done = WorkDone(work_id=parent.work_id, output=output, error=error)
    id_ = f"{parent.work_id}:finished"
    return WorkflowSignal(tenant=tenant, run_id=parent.run_id, id=id_, kind="finished", done=done)


def _begin(run: Pinned, owner: str, begin: Begin) -> Job | WorkflowSignal:
    """The message that starts the work, or the end of work that can't be started."""
    try:
        match begin.type:
            case "agent":
                return _job(run, owner, begin, _asked_of_agent(begin.config))
            case "tool":
                call = {"tool": begin.config["tool"], "arguments": begin.config.get("arguments", {})}
                return _job(run, owner, begin, {"call": call, "prompt": f"call {call['tool']}"})
            case "workflow":
                return _start(run, begin)
            case "task":
                return _task(run, begin)
    except (msgspec.ValidationError, ValueError) as error:
        failed = WorkError(type="invalid_work", message=str(error)[:500])
        return finished(run.tenant, WorkParent(run_id=run.run_id, work_id=begin.work_id), None, failed)


def _job(run: Pinned, owner: str, begin: Begin, asked: JsonObject) -> Job:
    return Job.checked(
        {
            "job_id": begin.work_id,
            "run_id": run.run_id,
            "node_id": begin.node,
            "workflow_tag": run.tag,
            "workflow_owner": owner,
            "user_id": run.start.user_id,
            "tenant": run.tenant,
            "agent": begin.config.get("agent", "assistant"),
            "agent_version": begin.config.get("version"),
            "context": {"session_id": begin.config.get("session_id")},
            "timeout_sec": min(begin.timeout_s or _TIMEOUT_S, _MAX_TIMEOUT_S),
            "retry_count": begin.attempt - 1,
            "partition_key": begin.work_id,
            **asked,
        }
    )


def _asked_of_agent(config: JsonObject) -> JsonObject:
    prompt = config.get("prompt")
    if prompt is None:
        given = config.get("input")
        return {"input": {} if given is None else given}
    return {"prompt": prompt if isinstance(prompt, str) else orjson.dumps(prompt).decode()}


def _start(run: Pinned, begin: Begin) -> WorkflowSignal:
    start = WorkStart(
        tag=begin.config["tag"],
        version=begin.config.get("version"),
        input=begin.config.get("input"),
        trigger="workflow",
        parent=WorkParent(run_id=run.run_id, work_id=begin.work_id),
        depth=run.start.depth + 1,
        user_id=run.start.user_id,
    )
    id_ = f"{begin.work_id}:start"
    return WorkflowSignal(tenant=run.tenant, run_id=begin.work_id, id=id_, kind="start", start=start)


def _task(run: Pinned, begin: Begin) -> WorkflowSignal:
    task = TaskAsked(
        work_id=begin.work_id,
        node_id=begin.node,
        action=str(begin.config["action"]),
        config={name: value for name, value in begin.config.items() if name != "action"},
        attempt=begin.attempt,
        timeout_s=begin.timeout_s,
    )
    return WorkflowSignal(tenant=run.tenant, run_id=run.run_id, id=f"{begin.work_id}:task", kind="task", task=task)

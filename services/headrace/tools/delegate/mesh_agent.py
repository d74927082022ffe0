"""An agent of the mesh as a sub-agent: its job is begun by whoever keeps the wait, its result is the outcome of the call.

Whether and how far is decided here, before anything begins: by the agent's own ``delegation``, and by what is left
for the whole family.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, NoReturn, Protocol

from headrace.messages import ids
from headrace.messages.agent import AgentDefinition
from headrace.messages.base import JsonObject
from headrace.messages.job import Job
from headrace.tools.api import Asked, CallParked, ToolContext, ToolFailure
from headrace.tools.delegate.shares import Shares, family_of, shares_of

_GRACE_MS: Final = 30_000  # for a result that is on its way
_SHOWN: Final = 64
_HAND_OVER_S: Final = 30.0  # its outcome may come much later


class Catalog(Protocol):
    def live(self, name: str, key: str | None = None) -> AgentDefinition | None: ...

    def get(self, name: str, version: str) -> AgentDefinition | None: ...


class MeshAgents:
    """A ``Target`` over the catalogue of agents."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @property
    def timeout_s(self) -> float:
        return _HAND_OVER_S

    async def start(self, inputs: JsonObject, config: JsonObject, context: ToolContext) -> NoReturn:
        """Raises ``CallParked``, or ``ToolFailure``: ``invalid_arguments``, ``not_allowed``, ``unknown_agent``, ``limit_depth``,
        ``limit_runs``, ``limit_tokens``, ``limit_cost``, ``deadline``.
        """
        if context.asked is None:
            raise ToolFailure("not_allowed", "only a run can delegate")
        child = self._child(config, context.asked)
        if child.approval == "required" and context.approval not in ("given", "repeat"):
            raise CallParked("approval", context.approve_by_ms)
        shares = shares_of(context.asked, context.remaining_s)
        job = _job(context.asked, child, inputs, shares)
        deadline = context.now_ms + round(shares.seconds * 1000) + _GRACE_MS
        raise CallParked("agent", deadline, job)

    def _child(self, config: JsonObject, asked: Asked) -> AgentDefinition:
        name, version = config.get("agent"), config.get("version")
        definition = asked.definition
        if not isinstance(name, str):
            raise ToolFailure("invalid_arguments", "/config/agent: say which agent")
        allowed = definition.delegation.agents if definition.delegation else ()
        if not any(fnmatchcase(name, pattern) for pattern in allowed):
            which = ", ".join(allowed) or "none"
            raise ToolFailure(
                "not_allowed", f"agent {definition.name} may not delegate to {name[:_SHOWN]!r}; it may to: {which}"
            )
        key, catalog = _canary_key(asked), self._catalog
        child = catalog.get(name, version) if isinstance(version, str) else catalog.live(name, key)
        if child is None:
            raise ToolFailure(
                "unknown_agent", f"there is no agent {name[:_SHOWN]!r}" + (" of that version" if version else "")
            )
        return child


def _canary_key(asked: Asked) -> str:
    """That of the run which asks, so that it hands equal work to the same version; of a sub-agent's, its family."""
    run = asked.message.run
    return run.session_id or run.workflow_run_id or (run.family.root_run_id if run.family else run.run_id)


def _job(asked: Asked, child: AgentDefinition, inputs: JsonObject, shares: Shares) -> Job:
    """The sub-agent's job. It has no session: a session's turns are in order, and the parent's is under way."""
    run = asked.message.run
    return Job(
        job_id=ids.child_job_id(run.tenant, run.run_id, asked.message.progress.step, asked.call.call_id),
        tenant=run.tenant,
        agent=child.name,
        agent_version=child.version,
        user_id=run.user_id,
        input=inputs,
        timeout_sec=shares.seconds,
        replay_id=run.replay_id,
        family=family_of(run, shares),
    )

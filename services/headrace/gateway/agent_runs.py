"""Agents and their runs for the doors of other protocols (MCP, A2A): the checks and jobs of ``/v1/runs``, without HTTP's shape."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import HttpError, unavailable
from headrace.gateway.run_cancel import RunCancel
from headrace.gateway.run_requests import RunRequests, run_request
from headrace.gateway.waiting import Waiting, outcome
from headrace.messages.agent import AgentDefinition


class AgentRuns:
    """All methods raise ``HttpError``, and ``DependencyUnavailable`` while what they need is away."""

    def __init__(
        self, deps: Deps, accepted: AcceptedRuns, requests: RunRequests, cancels: RunCancel, waiting: Waiting
    ) -> None:
        self._deps = deps
        self._accepted = accepted
        self._requests = requests
        self._cancels = cancels
        self._waiting = waiting

    def agents(self) -> list[AgentDefinition]:
        """The live ones."""
        if not self._deps.catalog_ready():
            raise unavailable("the catalogue of agents")
        return self._deps.catalog.all_live()

    def agent(self, name: str) -> AgentDefinition:
        """The live version of ``name``. Raises 404."""
        found = next((one for one in self.agents() if one.name == name), None)
        if found is None:
            raise HttpError(404, "unknown_agent", "no such agent", where="agent")
        return found

    async def start(self, request: JsonDict, headers: Mapping[str, str], wait_s: float) -> JsonDict:
        """``request`` as ``POST /v1/runs`` takes it. What ``get`` gives, after at most ``wait_s``."""
        wanted = run_request(request)
        run_id = await self._requests.begin(wanted, wanted.idempotency_key, headers)
        ended = await self._waiting.outcome(run_id, min(wait_s, self._deps.settings.gateway_max_wait_s))
        return ended or await self.get(run_id)

    async def get(self, run_id: str) -> JsonDict:
        """``run_id``, ``state`` (accepted, pending, running, completed, failed), ``agent_name``; with ``output`` or ``error`` once
        it has ended.
        """
        run = await self._deps.index.run(run_id)
        if run is None:
            agent = self._accepted.agent(run_id)
            if agent is None:
                raise HttpError(404, "unknown_run", "no such run", where="run_id")
            return {"run_id": run_id, "agent_name": agent, "state": "accepted"}
        ended = await outcome(self._deps, run_id) if run["state"] in ("completed", "failed") else None
        return run | (ended or {})

    async def cancel(self, run_id: str) -> None:
        """Asks that the run ends."""
        await self._cancels.ask(run_id)

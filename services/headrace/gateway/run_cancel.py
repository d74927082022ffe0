"""``POST /v1/runs/{run_id}/cancel``: the run has to end. Accepted is not done: reasoning ends it where it can still be ended.

A run that has not begun, waits for its model, or waits for tools (when those have answered) ends with the error ``cancelled``; an
answer that is there first stands. So the caller reads the outcome from the run, never from this answer.

A run that another gateway has taken is known here once it is indexed, a moment later. So what is not known is looked for again
for a while before the answer is that there is none: nothing is kept of a wish about a run that may not exist.
"""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import JSON, HttpError
from headrace.observe.logging import get_logger

log = get_logger(__name__)
_FIRST_PAUSE_S: Final = 0.1  # and then twice as long each time


class RunCancel:
    """The endpoint."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns) -> None:
        self._deps = deps
        self._accepted = accepted

    async def handle(self, request: Request) -> Response:
        run_id: str = request.path_params["run_id"]
        await self.ask(run_id)
        url = f"/v1/runs/{run_id}"
        return Response(orjson.dumps({"run_id": run_id, "status_url": url}), 202, {"Location": url}, media_type=JSON)

    async def ask(self, run_id: str) -> None:
        """Raises ``HttpError``: 404 there is no such run, 409 it has ended otherwise."""
        run = await self._known(run_id)
        if run is not None and run["state"] in ("completed", "failed"):
            if (run.get("error") or {}).get("type") != "cancelled":
                raise HttpError(409, "run_ended", f"the run has ended: it {run['state']}", where="run_id")
        else:
            await self._deps.cancellations.ask(self._deps.tenant, run_id)
            log.info("run_cancel_asked", run_id=run_id)

    async def _known(self, run_id: str) -> JsonDict | None:
        """The run as it is indexed; None for one that was accepted here and is not yet. Raises ``HttpError`` 404."""
        left_s, pause_s = self._deps.settings.gateway_unknown_wait_s, _FIRST_PAUSE_S
        while True:
            run = await self._deps.index.run(run_id)
            if run is not None or self._accepted.agent(run_id) is not None:
                return run
            if left_s <= 0:
                raise HttpError(404, "unknown_run", "no such run", where="run_id")
            await asyncio.sleep(min(pause_s, left_s))
            left_s, pause_s = left_s - pause_s, pause_s * 2

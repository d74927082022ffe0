"""Waiting for a run's result within a request: all who wait share one question to the index, ten times a second.

A wait never makes a request fail. If the time is up, the gateway stops, too many wait or the database is away, the answer is what
it would be without waiting.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import HttpError
from headrace.gateway.run_reader import result_url
from headrace.messages.errors import TransientError
from headrace.messages.ids import result_id

_EVERY_S: Final = 0.1


class Waiting:
    """``close`` ends all waits, for a clean shutdown."""

    def __init__(self, deps: Deps, *, every_s: float = _EVERY_S) -> None:
        self._deps = deps
        self._every_s = every_s
        self._waiting: dict[str, set[asyncio.Future[bool]]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._count = 0

    @property
    def full(self) -> bool:
        return self._count >= self._deps.settings.gateway_max_streams

    def seconds(self, given: str | None) -> float:
        """The query parameter ``wait``, cut to the bound. Raises ``HttpError`` 422."""
        if given is None:
            return 0.0
        try:
            wanted = float(given)
        except ValueError:
            wanted = math.nan
        if not 0 <= wanted < math.inf:
            raise HttpError(422, "request_schema", "not a number of seconds", where="query/wait")
        return min(wanted, self._deps.settings.gateway_max_wait_s)

    async def outcome(self, run_id: str, seconds: float) -> JsonDict | None:
        """How the run ended: ``state``, ``output`` or ``error``. None if it has not within ``seconds``."""
        if seconds <= 0 or self.full:
            return None
        try:
            return await outcome(self._deps, run_id) if await self._has_ended(run_id, seconds) else None
        except TransientError:
            return None

    def close(self) -> None:
        for waiting in self._waiting.values():
            for over in waiting:
                if not over.done():
                    over.set_result(False)

    async def _has_ended(self, run_id: str, seconds: float) -> bool:
        over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(run_id, set())
        waiting.add(over)
        self._count += 1
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="gateway-waiting")
        try:
            async with asyncio.timeout(seconds):
                return await over
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            waiting.discard(over)
            if not waiting:
                self._waiting.pop(run_id, None)

    async def _ask(self) -> None:
        while self._waiting:
            try:
                ended = await self._deps.index.ended(list(self._waiting))
            except TransientError:
                ended = set()
            for run_id in ended:
                for over in self._waiting.get(run_id, ()):
                    if not over.done():
                        over.set_result(True)
            await asyncio.sleep(self._every_s)


async def outcome(deps: Deps, run_id: str) -> JsonDict | None:
    """How a run ended, None if the index has no result of it. A failed run has ``error``, another one ``output``."""
    name = result_id(deps.tenant, run_id)
    stored = await deps.index.result(name)
    if stored is None:
        return None
    failed = stored["status"] == "failed"
    return {
        "run_id": run_id,
        "state": stored["status"],
        **({"error": stored["error"]} if failed else {"output": stored["data"]}),
        "status_url": f"/v1/runs/{run_id}",
        "result_url": result_url(name),
    }

"""``AsyncClient``: the API for asyncio. Method for method as ``blocking.Client``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from headrace.client import calls
from headrace.client.calls import (
    Call,
    ForkOptions,
    PageOptions,
    PromoteOptions,
    ReplayKind,
    ReplayOptions,
    RollbackOptions,
    RunFilters,
    RunOptions,
)
from headrace.client.errors import Unavailable, Unreachable, WaitTimedOut, api_error
from headrace.client.models import Ended, Forked, LiveVersion, Replay, Run, RunEvent, RunPage, Started
from headrace.client.options import ATTEMPTS, ended, headers_of, next_wait, pause_s, url_of
from headrace.client.sse import Events

T = TypeVar("T")


class AsyncClient:
    """``url`` is the gateway's (default: ``HEADRACE_GATEWAY_URL``, else http://127.0.0.1:8080), ``token`` an API key or a token of
    its (default: ``HEADRACE_API_KEY``).

    Making one may raise ``InvalidCredential``; all methods raise ``Unreachable`` and ``ApiError``.
    ``transport`` replaces the network.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx2.AsyncClient(base_url=url_of(url), headers=headers_of(token), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, prompt: str) -> str:
        """The assistant's answer. Raises ``Unavailable`` if it has none within the gateway's bound."""
        return await self._do(calls.ask(prompt))

    async def start(self, agent: str, **request: Unpack[RunOptions]) -> Started:
        """Begin a run. Raises ``Conflict`` for an idempotency key of another request."""
        started = await self._do(calls.start(agent, **request))
        assert isinstance(started, Started), "without a wait nothing has ended"
        return started

    async def run(self, agent: str, *, timeout_s: float = 300.0, **request: Unpack[RunOptions]) -> Ended:
        """Begin a run (arguments as ``start``) and wait for its end. Raises ``WaitTimedOut``."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        started = await self._do(calls.start(agent, next_wait(timeout_s), **request))
        return started if isinstance(started, Ended) else await self._wait(started.run_id, deadline, timeout_s)

    async def wait(self, run_id: str, *, timeout_s: float = 300.0) -> Ended:
        """How the run ended, once it has. Raises ``WaitTimedOut``."""
        return await self._wait(run_id, asyncio.get_running_loop().time() + timeout_s, timeout_s)

    async def get(self, run_id: str) -> Run:
        return await self._do(calls.get(run_id))

    async def runs(self, **filters: Unpack[RunFilters]) -> AsyncIterator[Run]:
        """All of them, newest first; they are fetched page by page."""
        cursor: str | None = None
        while True:
            page = await self.page(cursor=cursor, **filters)
            for run in page.runs:
                yield run
            if (cursor := page.cursor) is None:
                return

    async def page(self, **filters: Unpack[PageOptions]) -> RunPage:
        """One page of them, from ``cursor`` on."""
        return await self._do(calls.runs(**filters))

    async def cancel(self, run_id: str) -> None:
        """Ask that the run ends; ``wait`` tells how it did. Raises ``Conflict`` if it has."""
        await self._do(calls.cancel(run_id))

    async def fork(self, run_id: str, **request: Unpack[ForkOptions]) -> Forked:
        """Begin a new run that takes a run's records up to a step. Raises ``Conflict`` where it can't be forked."""
        return await self._do(calls.fork(run_id, **request))

    async def diff(self, run_id: str, other: str) -> dict[str, Any]:
        """Two runs step by step. Raises ``Conflict`` where the records of one are gone."""
        return await self._do(calls.diff(run_id, other))

    async def horizon(
        self, agent: str | None = None, *, since: str | None = None, until: str | None = None
    ) -> dict[str, Any]:
        """How far back replays reach, and whether all of a range is there still; the answer's times are epoch ms."""
        return await self._do(calls.horizon(agent, since, until))

    async def promote(self, name: str, version: str, **request: Unpack[PromoteOptions]) -> LiveVersion:
        """Make a published version of an agent live, or with ``canary_percent`` for that share of the keys.

        Raises ``Conflict`` where that can't be made of what is there.
        """
        return await self._do(calls.promote(name, version, **request))

    async def rollback(self, name: str, **request: Unpack[RollbackOptions]) -> LiveVersion:
        """End an agent's canary, or if there is none make live what was so before. Raises ``Conflict`` if there was nothing."""
        return await self._do(calls.rollback(name, **request))

    async def replay(self, kind: ReplayKind, **request: Unpack[ReplayOptions]) -> Replay:
        """Ask for a replay. Raises ``Conflict`` for the id of another request."""
        return await self._do(calls.replay(kind, **request))

    async def get_replay(self, replay_id: str) -> Replay:
        return await self._do(calls.get_replay(replay_id))

    async def replays(self, *, state: str | None = None, limit: int = 50) -> list[Replay]:
        """Newest first."""
        return await self._do(calls.replays(state, limit))

    async def replay_report(self, replay_id: str) -> dict[str, Any]:
        """Raises ``NotFound`` while there is none."""
        return await self._do(calls.replay_report(replay_id))

    async def cancel_replay(self, replay_id: str) -> Replay:
        """Raises ``Conflict`` if it has ended."""
        return await self._do(calls.move_replay(replay_id, "cancel"))

    async def resume_replay(self, replay_id: str) -> Replay:
        """Begin one that is planned, or go on with one that failed or was cancelled. Raises ``Conflict`` if it is done."""
        return await self._do(calls.move_replay(replay_id, "resume"))

    async def swap_index(self, replay_id: str) -> Replay:
        """Put the index that a rebuild made in place of the live one; the replay of it. Raises ``Conflict`` if they differ."""
        return await self._do(calls.move_replay(replay_id, "swap"))

    async def drop_index(self, replay_id: str) -> Replay:
        """Remove the index that a rebuild made, or what was live before it; the replay of it."""
        return await self._do(calls.move_replay(replay_id, "drop"))

    async def result(self, ref: str) -> Any:
        """What a run's ``result_url``, or a reference such as ``artifact://...``, stands for."""
        return await self._do(calls.result(ref))

    async def stream(self, run_id: str, *, tokens: bool = False) -> AsyncIterator[RunEvent]:
        """The run's records as they come, up to its result; a connection that breaks is taken up where it was.

        ``tokens``: also what its model writes, as it writes, if the run was started with ``stream_tokens``.
        """
        events, failures = Events(), 0
        while failures < ATTEMPTS:
            try:
                async with aclosing(self._connection(calls.events_path(run_id, tokens=tokens), events)) as arriving:
                    async for event in arriving:
                        failures = 0
                        yield event
                        if event.type == "result":
                            return
            except (httpx2.TransportError, Unreachable, Unavailable):
                pass
            failures += 1
            await asyncio.sleep(pause_s(failures))
        raise Unreachable(f"the events of run {run_id} broke off {ATTEMPTS} times")

    async def _connection(self, path: str, events: Events) -> AsyncGenerator[RunEvent]:
        async with self._http.stream("GET", path, headers=events.begin(), timeout=calls.TIMEOUT_S) as response:
            if not response.is_success:
                await response.aread()
                raise api_error(response)
            async for line in response.aiter_lines():
                if event := events.feed(line):
                    yield event

    async def _wait(self, run_id: str, deadline: float, timeout_s: float) -> Ended:
        while True:
            run = await self._do(calls.get(run_id, next_wait(deadline - asyncio.get_running_loop().time())))
            if run.has_ended:
                return ended(run, await self.result(run.result_url) if run.result_url else None)
            if asyncio.get_running_loop().time() >= deadline:
                raise WaitTimedOut(run_id, timeout_s)

    async def _do(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**call.arguments())
        except httpx2.TransportError as error:
            raise Unreachable(f"no answer from {self._http.base_url} ({type(error).__name__})") from error
        return call.result(response)

"""``Client``: the API for code that blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
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


class Client:
    """``url`` is the gateway's (default: ``HEADRACE_GATEWAY_URL``, else http://127.0.0.1:8080), ``token`` an API key or a token of
    its (default: ``HEADRACE_API_KEY``).

    Making one may raise ``InvalidCredential``; all methods raise ``Unreachable`` and ``ApiError``.
    Safe to share between threads. ``transport`` replaces the network.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._http = httpx2.Client(base_url=url_of(url), headers=headers_of(token), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ask(self, prompt: str) -> str:
        """The assistant's answer. Raises ``Unavailable`` if it has none within the gateway's bound."""
        return self._do(calls.ask(prompt))

    def start(self, agent: str, **request: Unpack[RunOptions]) -> Started:
        """Begin a run. Raises ``Conflict`` for an idempotency key of another request."""
        started = self._do(calls.start(agent, **request))
        assert isinstance(started, Started), "without a wait nothing has ended"
        return started

    def run(self, agent: str, *, timeout_s: float = 300.0, **request: Unpack[RunOptions]) -> Ended:
        """Begin a run (arguments as ``start``) and wait for its end. Raises ``WaitTimedOut``."""
        deadline = time.monotonic() + timeout_s
        started = self._do(calls.start(agent, next_wait(timeout_s), **request))
        return started if isinstance(started, Ended) else self._wait(started.run_id, deadline, timeout_s)

    def wait(self, run_id: str, *, timeout_s: float = 300.0) -> Ended:
        """How the run ended, once it has. Raises ``WaitTimedOut``."""
        return self._wait(run_id, time.monotonic() + timeout_s, timeout_s)

    def get(self, run_id: str) -> Run:
        return self._do(calls.get(run_id))

    def runs(self, **filters: Unpack[RunFilters]) -> Iterator[Run]:
        """All of them, newest first; they are fetched page by page."""
        cursor: str | None = None
        while True:
            page = self.page(cursor=cursor, **filters)
            yield from page.runs
            if (cursor := page.cursor) is None:
                return

    def page(self, **filters: Unpack[PageOptions]) -> RunPage:
        """One page of them, from ``cursor`` on."""
        return self._do(calls.runs(**filters))

    def cancel(self, run_id: str) -> None:
        """Ask that the run ends; ``wait`` tells how it did. Raises ``Conflict`` if it has."""
        self._do(calls.cancel(run_id))

    def fork(self, run_id: str, **request: Unpack[ForkOptions]) -> Forked:
        """Begin a new run that takes a run's records up to a step. Raises ``Conflict`` where it can't be forked."""
        return self._do(calls.fork(run_id, **request))

    def diff(self, run_id: str, other: str) -> dict[str, Any]:
        """Two runs step by step. Raises ``Conflict`` where the records of one are gone."""
        return self._do(calls.diff(run_id, other))

    def horizon(
        self, agent: str | None = None, *, since: str | None = None, until: str | None = None
    ) -> dict[str, Any]:
        """How far back replays reach, and whether all of a range is there still; the answer's times are epoch ms."""
        return self._do(calls.horizon(agent, since, until))

    def promote(self, name: str, version: str, **request: Unpack[PromoteOptions]) -> LiveVersion:
        """Make a published version of an agent live, or with ``canary_percent`` for that share of the keys.

        Raises ``Conflict`` where that can't be made of what is there.
        """
        return self._do(calls.promote(name, version, **request))

    def rollback(self, name: str, **request: Unpack[RollbackOptions]) -> LiveVersion:
        """End an agent's canary, or if there is none make live what was so before. Raises ``Conflict`` if there was nothing."""
        return self._do(calls.rollback(name, **request))

    def replay(self, kind: ReplayKind, **request: Unpack[ReplayOptions]) -> Replay:
        """Ask for a replay. Raises ``Conflict`` for the id of another request."""
        return self._do(calls.replay(kind, **request))

    def get_replay(self, replay_id: str) -> Replay:
        return self._do(calls.get_replay(replay_id))

    def replays(self, *, state: str | None = None, limit: int = 50) -> list[Replay]:
        """Newest first."""
        return self._do(calls.replays(state, limit))

    def replay_report(self, replay_id: str) -> dict[str, Any]:
        """Raises ``NotFound`` while there is none."""
        return self._do(calls.replay_report(replay_id))

    def cancel_replay(self, replay_id: str) -> Replay:
        """Raises ``Conflict`` if it has ended."""
        return self._do(calls.move_replay(replay_id, "cancel"))

    def resume_replay(self, replay_id: str) -> Replay:
        """Begin one that is planned, or go on with one that failed or was cancelled. Raises ``Conflict`` if it is done."""
        return self._do(calls.move_replay(replay_id, "resume"))

    def swap_index(self, replay_id: str) -> Replay:
        """Put the index that a rebuild made in place of the live one; the replay of it. Raises ``Conflict`` if they differ."""
        return self._do(calls.move_replay(replay_id, "swap"))

    def drop_index(self, replay_id: str) -> Replay:
        """Remove the index that a rebuild made, or what was live before it; the replay of it."""
        return self._do(calls.move_replay(replay_id, "drop"))

    def result(self, ref: str) -> Any:
        """What a run's ``result_url``, or a reference such as ``artifact://...``, stands for."""
        return self._do(calls.result(ref))

    def stream(self, run_id: str, *, tokens: bool = False) -> Iterator[RunEvent]:
        """The run's records as they come, up to its result; a connection that breaks is taken up where it was.

        ``tokens``: also what its model writes, as it writes, if the run was started with ``stream_tokens``.
        """
        events, failures = Events(), 0
        while failures < ATTEMPTS:
            try:
                for event in self._connection(calls.events_path(run_id, tokens=tokens), events):
                    failures = 0
                    yield event
                    if event.type == "result":
                        return
            except (httpx2.TransportError, Unreachable, Unavailable):
                pass
            failures += 1
            time.sleep(pause_s(failures))
        raise Unreachable(f"the events of run {run_id} broke off {ATTEMPTS} times")

    def _connection(self, path: str, events: Events) -> Iterator[RunEvent]:
        with self._http.stream("GET", path, headers=events.begin(), timeout=calls.TIMEOUT_S) as response:
            if not response.is_success:
                response.read()
                raise api_error(response)
            for line in response.iter_lines():
                if event := events.feed(line):
                    yield event

    def _wait(self, run_id: str, deadline: float, timeout_s: float) -> Ended:
        while True:
            run = self._do(calls.get(run_id, next_wait(deadline - time.monotonic())))
            if run.has_ended:
                return ended(run, self.result(run.result_url) if run.result_url else None)
            if time.monotonic() >= deadline:
                raise WaitTimedOut(run_id, timeout_s)

    def _do(self, call: Call[T]) -> T:
        try:
            response = self._http.request(**call.arguments())
        except httpx2.TransportError as error:
            raise Unreachable(f"no answer from {self._http.base_url} ({type(error).__name__})") from error
        return call.result(response)

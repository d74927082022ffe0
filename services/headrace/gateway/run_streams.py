"""``GET /v1/runs/{run_id}/events``: a run as server-sent events, from its first record to its result.

History from the index first, then the live feed; each record once (by topic, partition, offset), in causal order, with that
position as the event's id, so that a client that reconnects with ``Last-Event-ID`` goes on after it. Since the index lags a
little behind Kafka, it is asked again whenever the live feed is silent: a record that was written before the subscription and
indexed after the first look is not missed.

With ``tokens=true`` what the model writes comes in between, as events without an id: they are not the run's records, a client that
reconnects does not ask for them again, and once the record of their turn was given they are stale and left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.ports import TOKENS, Deps, RunEvent
from headrace.gateway.problems import HttpError, unavailable
from headrace.gateway.sequence import Sequence
from headrace.messages.errors import TransientError

KEEPALIVE: Final = b": keep-alive\n\n"
UNAVAILABLE: Final = b'event: error\ndata: {"code":"unavailable"}\n\n'


class RunStreams:
    """The endpoint. ``close`` ends all streams, for a clean shutdown."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns, *, silence_s: float = 1.0) -> None:
        self._deps = deps
        self._accepted = accepted
        self._silence_s = silence_s  # after so much of it the index is asked again
        self._stopping = asyncio.Event()
        self._open = 0

    def close(self) -> None:
        self._stopping.set()

    async def handle(self, request: Request) -> Response:
        run_id: str = request.path_params["run_id"]
        await self._check_known(run_id)
        if self._open >= self._deps.settings.gateway_max_streams:
            raise unavailable("a further event stream")
        tokens = _wants_tokens(request.query_params.get("tokens"))
        frames = self._frames(run_id, request.headers.get("last-event-id"), tokens=tokens)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(frames, media_type="text/event-stream", headers=headers)

    async def _check_known(self, run_id: str) -> None:
        if self._accepted.agent(run_id) is not None:
            return
        if await self._deps.index.run(run_id) is None:
            raise HttpError(404, "unknown_run", "no such run", where="run_id")

    async def _frames(self, run_id: str, last_id: str | None, *, tokens: bool = False) -> AsyncIterator[bytes]:
        skip, now = _Skip(last_id), asyncio.get_running_loop().time
        keepalive_s, spoke_at = self._deps.settings.gateway_keepalive_s, now()
        self._open += 1
        try:
            async with aclosing(self._events(run_id, tokens)) as events:
                async for event in events:
                    passed = skip.take(event) if event else skip.release()
                    for each in passed:
                        yield frame(each)
                    if not passed and now() - spoke_at >= keepalive_s:
                        yield KEEPALIVE
                        spoke_at = now()
                    elif passed:
                        spoke_at = now()
        except TransientError:
            yield UNAVAILABLE
        finally:
            self._open -= 1

    async def _events(self, run_id: str, tokens: bool) -> AsyncGenerator[RunEvent | None]:
        """The run's events up to its result, in order; None for each second of silence."""
        sequence = Sequence()
        async with self._deps.feed.subscribe(run_id, tokens=tokens) as live:
            ready: list[RunEvent] | None = sequence.push(*await self._deps.index.history(run_id))
            while ready is not None and not self._stopping.is_set():
                for event in ready:
                    yield event
                    if event.type == "result":
                        return
                if not ready:
                    yield None
                ready = await self._next(run_id, live, sequence)

    async def _next(self, run_id: str, live: AsyncIterator[RunEvent], sequence: Sequence) -> list[RunEvent] | None:
        """What came next, in order; after a silence, what the index has by now. None where the feed has ended."""
        try:
            event = await asyncio.wait_for(anext(live), self._silence_s)
            while event.type == TOKENS and event.step <= sequence.step:
                event = await asyncio.wait_for(anext(live), self._silence_s)
            return [event] if event.type == TOKENS else sequence.push(event)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            return sequence.push(*await self._deps.index.history(run_id)) or sequence.flush()


class _Skip:
    """Drops what the client has had: everything up to the event that ``last_id`` names.

    Should that event not come (it is past its retention), what was held back is given after all: better twice than not at all.
    """

    def __init__(self, last_id: str | None) -> None:
        self._last_id = last_id
        self._held: list[RunEvent] = []

    def take(self, event: RunEvent) -> list[RunEvent]:
        if self._last_id is None or event.type == TOKENS:
            return [event]
        self._held.append(event)
        if event.id == self._last_id:
            self._last_id, self._held = None, []
        return self.release() if event.type == "result" else []

    def release(self) -> list[RunEvent]:
        held, self._held = self._held, []
        if held:
            self._last_id = None
        return held


def frame(event: RunEvent) -> bytes:
    """One event in the wire form. ``data`` is one line of JSON."""
    data = {
        "type": event.type,
        "run_id": event.run_id,
        "step": event.step,
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "timestamp_ms": event.timestamp_ms,
        **event.data,
    }
    place = "" if event.type == TOKENS else f"id: {event.id}\n"
    return f"{place}event: {event.type}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def _wants_tokens(given: str | None) -> bool:
    """The query parameter. Raises ``HttpError`` 422."""
    if given not in (None, "true", "false"):
        raise HttpError(422, "request_schema", "neither true nor false", where="query/tokens")
    return given == "true"

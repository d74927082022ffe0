"""One suite over both clients, on the gateway's own application behind a real port; what it stands on are stand-ins."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from headrace.blobs.tenants import TenantBlobs
from headrace.client import (
    AsyncClient,
    Client,
    Conflict,
    InvalidRequest,
    NotFound,
    RunFailed,
    Unavailable,
    Unreachable,
    WaitTimedOut,
    run,
)
from headrace.client.errors import ApiError
from headrace.client.sse import Events
from headrace.gateway.app import create_app
from headrace.gateway.ports import RunEvent
from headrace.gateway.run_start import RunRequest
from headrace.messages.errors import DependencyUnavailable
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from tests.gateway.support import REVIEWER, Gateway, served
from tests.gateway.test_streams import ALL
from tests.support.ports import free_port

INPUT = {"title": "Fix"}


class Blocking:
    """``Client`` with the signatures of ``AsyncClient``."""

    def __init__(self, url: str) -> None:
        self._client = Client(url)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if inspect.isgeneratorfunction(method):

            async def gathered(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
                for one in await asyncio.to_thread(lambda: list(method(*arguments, **named))):
                    yield one

            return gathered
        return lambda *arguments, **named: asyncio.to_thread(method, *arguments, **named)


@pytest.fixture
def gateway() -> Gateway:
    gateway = Gateway()
    gateway.app = create_app(replace(gateway.deps, catalog=catalog_of([REVIEWER, *builtin_definitions()])))
    return gateway


@pytest.fixture(params=[AsyncClient, Blocking])
async def client(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Any]:
    async with served(gateway) as server:
        client = request.param(server.url)
        yield client
        await client.close()


async def published(gateway: Gateway) -> str:
    async with asyncio.timeout(20):
        while not gateway.publisher.sends:
            await asyncio.sleep(0.01)
    return str(gateway.publisher.sends[-1].message.message_id())


async def meanwhile(gateway: Gateway, asking: Any, **end: Any) -> Any:
    """What ``asking`` gives whose run ends like that while it waits."""
    task = asyncio.ensure_future(asking)
    gateway.index.end(await published(gateway), "pr-reviewer", **end)
    return await task


async def test_ask(gateway: Gateway, client: Any) -> None:
    assert await meanwhile(gateway, client.ask("What?"), output="That.") == "That."


async def test_run_gives_the_output(gateway: Gateway, client: Any) -> None:
    ended = await meanwhile(gateway, client.run("pr-reviewer", input=INPUT), output={"risk": "low"})
    assert (ended.state, ended.result()) == ("completed", {"risk": "low"})


async def test_run_gives_the_error(gateway: Gateway, client: Any) -> None:
    error = {"type": "limit_cost", "message": "m", "retryable": True}
    ended = await meanwhile(gateway, client.run("pr-reviewer", input=INPUT), error=error)
    with pytest.raises(RunFailed, match="limit_cost") as caught:
        ended.result()
    assert (caught.value.type, caught.value.retryable, caught.value.run_id) == ("limit_cost", True, ended.run_id)


@pytest.mark.parametrize(
    ("end", "answer"),
    [({"output": [1]}, [1]), ({"error": {"type": "timeout", "message": "m"}}, None)],
)
async def test_start_then_wait(gateway: Gateway, client: Any, end: Any, answer: Any) -> None:
    started = await client.start("pr-reviewer", input=INPUT, user_id="u-1")
    task = asyncio.ensure_future(client.wait(started.run_id))
    await asyncio.sleep(0.1)
    assert not task.done()
    gateway.index.end(started.run_id, "pr-reviewer", **end)
    assert (await task).output == answer


async def test_a_wait_that_is_too_short_names_the_run(client: Any) -> None:
    with pytest.raises(WaitTimedOut) as caught:
        await client.run("pr-reviewer", input=INPUT, timeout_s=0.1)
    assert (await client.get(caught.value.run_id)).state == "accepted"


async def test_all_runs_page_by_page(gateway: Gateway, client: Any) -> None:
    for number in range(5):
        gateway.index.end(f"r{number}", "a" if number else "b", output=1)
    assert [one.run_id async for one in client.runs(agent="a", limit=2)] == ["r1", "r2", "r3", "r4"]
    assert len(gateway.index.asked) == 2
    page = await client.page(limit=2)
    assert (len(page.runs), page.cursor) == (2, "2")


async def test_cancel(gateway: Gateway, client: Any) -> None:
    started = await client.start("pr-reviewer", input=INPUT)
    await client.cancel(started.run_id)
    assert gateway.cancellations.asked == [("acme", started.run_id)]
    gateway.index.end(started.run_id, "a", output=1)
    with pytest.raises(Conflict) as caught:
        await client.cancel(started.run_id)
    assert caught.value.code == "run_ended"


async def test_a_large_result_is_its_content(gateway: Gateway, client: Any) -> None:
    granted = TenantBlobs(gateway.blobs, gateway.deps.tenant)
    ref = await granted.put(orjson.dumps({"big": 1}))
    assert await client.result(ref) == {"big": 1}
    raw = await granted.put(b"\x00\xff")
    assert await client.result(raw) == b"\x00\xff"


async def test_stream_to_the_result(gateway: Gateway, client: Any) -> None:
    run_id = ALL[0].run_id
    gateway.index.rows[run_id] = {"run_id": run_id, "state": "completed", "agent_name": "a"}
    gateway.index.steps[run_id] = list(ALL)
    assert [event.id async for event in client.stream(run_id)] == [event.id for event in ALL]


async def test_a_stream_that_breaks_goes_on_after_what_it_had(
    gateway: Gateway, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway can't go on after two events; the client comes back and gets the rest, each once."""
    run_id = ALL[0].run_id
    gateway.index.rows[run_id] = {"run_id": run_id, "state": "completed", "agent_name": "a"}
    asked = 0

    async def history(_run_id: str) -> list[RunEvent]:
        nonlocal asked
        asked += 1
        if asked == 1:
            return list(ALL[:2])
        if asked == 2:
            raise DependencyUnavailable("away")
        return list(ALL)

    monkeypatch.setattr(gateway.index, "history", history)
    assert [event.id async for event in client.stream(run_id)] == [event.id for event in ALL]
    assert asked >= 3


async def test_what_the_model_writes_is_part_of_a_stream_that_asks_for_it(gateway: Gateway, client: Any) -> None:
    started = await client.start("pr-reviewer", input=INPUT, stream_tokens=True)
    assert gateway.publisher.sends[-1].message.stream_tokens
    run_id = started.run_id
    gateway.index.rows[run_id] = {"run_id": run_id, "state": "running", "agent_name": "a"}
    gateway.index.steps[run_id] = [replace(ALL[0], run_id=run_id)]

    async def write() -> None:
        await gateway.tail_made.wait()
        piece = RunEvent("tokens", run_id, "run.tokens", 0, 0, 0, 1, {"at": 0, "text": "Hm"})
        await gateway.written.queue.put(piece)
        await gateway.written.queue.join()
        await gateway.tails[-1].queue.put(replace(ALL[-1], run_id=run_id, step=1))

    writing = asyncio.create_task(write())
    events = [event async for event in client.stream(run_id, tokens=True)]
    await writing
    assert [(event.type, event.id) for event in events] == [
        ("job", ALL[0].id),
        ("tokens", ""),
        ("result", ALL[-1].id),
    ]
    assert events[1].data["text"] == "Hm"


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (lambda c: c.start("nobody", prompt="?"), InvalidRequest, "unknown_agent"),
        (lambda c: c.start("pr-reviewer", input={}), InvalidRequest, "input_schema"),
        (lambda c: c.get("no such?run"), NotFound, "unknown_run"),
        (lambda c: c.ask(""), InvalidRequest, "http"),
        (lambda c: c.result("artifact://none"), NotFound, "unknown_result"),
    ],
)
async def test_refusals_are_typed(client: Any, call: Callable[[Any], Any], error: type[ApiError], code: str) -> None:
    with pytest.raises(error) as caught:
        await call(client)
    assert caught.value.code == code
    assert caught.value.message


async def test_a_key_for_another_request_is_a_conflict(client: Any) -> None:
    await client.start("pr-reviewer", input=INPUT, idempotency_key="k")
    with pytest.raises(Conflict):
        await client.start("pr-reviewer", input={"title": "Other"}, idempotency_key="k")


async def test_what_is_not_durable_is_unavailable_and_says_when(gateway: Gateway, client: Any) -> None:
    gateway.publisher.fail = DependencyUnavailable("away")
    with pytest.raises(Unavailable) as caught:
        await client.start("pr-reviewer", input=INPUT)
    assert caught.value.retry_after_s == 5


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="no answer from"):
        run("?", url=f"http://127.0.0.1:{free_port()}")


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(value).parameters) for name, value in public.items()}

    assert methods(Client) == methods(AsyncClient)


def test_what_a_run_is_asked_for_with_is_what_the_api_takes() -> None:
    from headrace.client.calls import RunOptions

    assert set(RunOptions.__annotations__) | {"agent"} == set(RunRequest.model_fields)


async def test_what_a_list_is_narrowed_by_is_what_the_api_takes(gateway: Gateway) -> None:
    from headrace.client.calls import PageOptions

    document = (await gateway.get("/openapi.json")).json()
    parameters = {parameter["name"] for parameter in document["paths"]["/v1/runs"]["get"]["parameters"]}
    assert set(PageOptions.__annotations__) == parameters


def test_events_are_read_line_by_line() -> None:
    events = Events()
    lines = [": keep-alive", "", "id: t/0/1", "event: job", 'data: {"a":1}', ""]
    found = [event for line in lines if (event := events.feed(line))]
    assert [(event.id, event.type, event.data) for event in found] == [("t/0/1", "job", {"a": 1})]
    assert events.begin()["Last-Event-ID"] == "t/0/1"
    for line in ("event: tokens", 'data: {"at":0}'):
        events.feed(line)
    token = events.feed("")
    assert token is not None
    assert (token.id, token.type) == ("", "tokens")
    assert events.begin()["Last-Event-ID"] == "t/0/1", "what has no place is not where to go on"
    events.feed("data: half")
    events.begin()
    assert events.feed("") is None, "what was cut off is not taken for an event"
    events.feed("event: error")
    events.feed("data: {}")
    with pytest.raises(Unreachable):
        events.feed("")

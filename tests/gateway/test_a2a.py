"""A2A over the gateway, in both versions of the protocol: cards, and JSON-RPC onto runs."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from a2a.client.card_resolver import parse_agent_card
from a2a.compat.v0_3 import types as v03
from a2a.types import a2a_pb2
from google.protobuf.json_format import ParseDict

from headrace.messages.job import Job
from tests.gateway.support import Gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
AGENT = "/a2a/pr-reviewer"
METHODS = {
    "0.3": {"send": "message/send", "get": "tasks/get", "cancel": "tasks/cancel"},
    "1.0": {"send": "SendMessage", "get": "GetTask", "cancel": "CancelTask"},
}


def message(version: str, *parts: Any, **more: Any) -> dict[str, Any]:
    role = "user" if version == "0.3" else "ROLE_USER"
    return {"messageId": "m-1", "role": role, "parts": list(parts), **more}


async def rpc(gateway: Gateway, method: str, params: Any, path: str = AGENT, **headers: str) -> dict[str, Any]:
    body = orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    answer = await gateway.post(path, body, {"content-type": "application/json", **headers})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["jsonrpc"], found["id"]) == ("2.0", 7)
    return found


async def sent(gateway: Gateway, version: str, part: Any, *, wait: bool = False, **more: Any) -> dict[str, Any]:
    """The task that a message became."""
    configuration = {"blocking": wait} if version == "0.3" else {"returnImmediately": not wait}
    params = {"message": message(version, part, **more), "configuration": configuration}
    result = (await rpc(gateway, METHODS[version]["send"], params))["result"]
    if version == "0.3":
        v03.Task.model_validate(result)
        task: dict[str, Any] = result
    else:
        ParseDict(result, a2a_pb2.SendMessageResponse())
        task = result["task"]
    return task


def job(gateway: Gateway) -> Job:
    found = gateway.publisher.sends[-1].message
    assert isinstance(found, Job)
    return found


def data(version: str, value: Any) -> dict[str, Any]:
    return {"data": value} | ({"kind": "data"} if version == "0.3" else {})


@pytest.mark.parametrize("version", ["0.3", "1.0"])
async def test_a_task_from_message_to_result(version: str) -> None:
    gateway, names = Gateway(), METHODS[version]
    task = await sent(gateway, version, data(version, {"title": "Fix"}), contextId="ctx-1")
    submitted = "submitted" if version == "0.3" else "TASK_STATE_SUBMITTED"
    assert (task["status"]["state"], task["contextId"]) == (submitted, "ctx-1")
    assert (job(gateway).agent, job(gateway).input, job(gateway).context.session_id) == (
        "pr-reviewer",
        {"title": "Fix"},
        "ctx-1",
    )
    assert job(gateway).job_id == task["id"]
    again = await sent(gateway, version, data(version, {"title": "Fix"}), contextId="ctx-1")
    assert again["id"] == task["id"]

    gateway.index.end(task["id"], "pr-reviewer", output={"risk": "low"})
    done = (await rpc(gateway, names["get"], {"id": task["id"]}))["result"]
    [artifact] = done["artifacts"]
    assert artifact["parts"] == [data(version, {"risk": "low"})]
    assert done["status"]["state"] == ("completed" if version == "0.3" else "TASK_STATE_COMPLETED")
    if version == "0.3":
        v03.Task.model_validate(done)
    else:
        ParseDict(done, a2a_pb2.Task())
    refused = await rpc(gateway, names["cancel"], {"id": task["id"]})
    assert refused["error"]["code"] == -32002


@pytest.mark.parametrize("version", ["0.3", "1.0"])
async def test_who_waits_gets_the_end(version: str) -> None:
    gateway = Gateway()
    asking = asyncio.create_task(sent(gateway, version, data(version, {"title": "Fix"}), wait=True))
    async with asyncio.timeout(20):
        while not gateway.publisher.sends:
            await asyncio.sleep(0.01)
    error = {"type": "timeout", "message": "took too long"}
    gateway.index.end(job(gateway).job_id, "pr-reviewer", error=error)
    task = await asking
    assert task["status"]["state"] == ("failed" if version == "0.3" else "TASK_STATE_FAILED")
    assert task["status"]["message"]["parts"][0]["text"] == "timeout: took too long"


@pytest.mark.parametrize("version", ["0.3", "1.0"])
async def test_a_task_is_cancelled(version: str) -> None:
    gateway, names = Gateway(), METHODS[version]
    task = await sent(gateway, version, data(version, {"title": "Fix"}))
    await rpc(gateway, names["cancel"], {"id": task["id"]})
    assert [run for _, run in gateway.deps.cancellations.asked] == [task["id"]]  # type: ignore[attr-defined]
    gateway.index.end(task["id"], "pr-reviewer", error={"type": "cancelled", "message": "asked for"})
    ended = (await rpc(gateway, names["get"], {"id": task["id"]}))["result"]
    assert ended["status"]["state"] == ("canceled" if version == "0.3" else "TASK_STATE_CANCELED")


SEND = {"message": message("1.0", {"data": {"title": "Fix"}})}


@pytest.mark.parametrize(
    ("method", "params", "code", "said"),
    [
        ("SendMessage", {}, -32602, "params.message"),
        ("SendMessage", [], -32602, "params: an object"),
        ("SendMessage", {"message": message("1.0")}, -32602, "give text, or one part of data"),
        ("SendMessage", {"message": message("1.0", {"url": "http://x/y"})}, -32602, "text and data only"),
        ("SendMessage", {"message": message("1.0", {"data": {}}, messageId="")}, -32602, "messageId"),
        ("SendMessage", {"message": message("1.0", {"data": {"titel": 1}})}, -32602, "input schema"),
        ("SendMessage", {"message": message("1.0", {"data": {"title": "a"}}, taskId="t")}, -32004, "one message"),
        ("SendStreamingMessage", SEND, -32004, "not a method"),
        ("message/stream", SEND, -32004, "not a method"),
        ("Nothing", SEND, -32601, "not a method"),
        ("GetTask", {"id": "unknown"}, -32001, "no such run"),
        ("CancelTask", {"id": 5}, -32602, "params.id"),
        ("tasks/get", {"id": "run-of-another"}, -32001, "no such task of this agent"),
    ],
)
async def test_what_is_refused(method: str, params: Any, code: int, said: str) -> None:
    gateway = Gateway()
    gateway.index.end("run-of-another", "another", output="x")
    error = (await rpc(gateway, method, params))["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert not gateway.publisher.sends


async def test_requests_that_are_none() -> None:
    gateway = Gateway()
    json = {"content-type": "application/json"}
    for body, code in [(b"{", -32700), (b"[]", -32600), (b'{"jsonrpc": "1.0", "method": "GetTask"}', -32600)]:
        answer = await gateway.post(AGENT, body, json)
        assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (200, code, None)
    wrong = await rpc(gateway, "GetTask", {"id": "x"}, **{"a2a-version": "9.0"})
    assert (wrong["error"]["code"], "1.0, 0.3" in wrong["error"]["message"]) == (-32009, True)
    assert (await gateway.post("/a2a/nobody", b"{}", json)).status_code == 404


async def test_the_same_message_id_for_another_message() -> None:
    gateway = Gateway()
    await sent(gateway, "1.0", {"data": {"title": "Fix"}})
    other = {"message": message("1.0", {"data": {"title": "Another"}})}
    assert (await rpc(gateway, "SendMessage", other))["error"]["code"] == -32602


async def test_an_exhausted_budget_is_no_fault_of_the_message() -> None:
    gateway = Gateway()
    gateway.budgets.empty = {"chat": None}
    answer = await rpc(gateway, "SendMessage", {"message": message("1.0", {"data": {"title": "Fix"}})})
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32603, "budget chat is exhausted")
    gateway.budgets.empty = {}
    await sent(gateway, "1.0", {"data": {"title": "Fix"}})


async def test_cards() -> None:
    gateway = Gateway(gateway_public_url="https://mesh.example.org")
    answer = await gateway.get("/a2a/pr-reviewer/.well-known/agent-card.json")
    card = answer.json()
    old = v03.AgentCard.model_validate(card)
    assert (old.url, old.preferred_transport, old.name) == (
        "https://mesh.example.org/a2a/pr-reviewer",
        "JSONRPC",
        "pr-reviewer",
    )
    new = parse_agent_card(answer.json())
    assert [(one.protocol_version, one.url) for one in new.supported_interfaces] == [
        ("1.0", "https://mesh.example.org/a2a/pr-reviewer"),
        ("0.3", "https://mesh.example.org/a2a/pr-reviewer"),
    ]
    assert "planted-system-prompt" not in answer.text
    assert "securitySchemes" not in card  # authentication is off here
    assert (await gateway.get("/a2a/nobody/.well-known/agent-card.json")).status_code == 404
    assert (await gateway.get("/.well-known/agent-card.json")).status_code == 404  # this catalogue has no assistant

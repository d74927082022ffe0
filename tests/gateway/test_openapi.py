"""What ``/openapi.json`` says of the run endpoints and the doors is what they answer."""

from __future__ import annotations

import asyncio
from typing import Any

import jsonschema_rs
import orjson
import pytest

from headrace.messages.errors import DependencyUnavailable
from tests.gateway.support import Gateway
from tests.gateway.test_doors import RUN, make, published

JSON = {"content-type": "application/json"}
PROMPT = {"agent": "assistant", "prompt": "?"}


class Checked:
    """Requests whose every answer is held against the document."""

    def __init__(self, gateway: Gateway, document: dict[str, Any]) -> None:
        self._gateway = gateway
        self._document = document
        self.seen: set[tuple[str, int]] = set()

    async def post(self, path: str, template: str, body: Any, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return self._check("post", template, await self._gateway.post(path, content, JSON | headers))

    async def get(self, path: str, template: str) -> Any:
        return self._check("get", template, await self._gateway.get(path))

    def _check(self, method: str, template: str, answer: Any) -> Any:
        responses = self._document["paths"][template][method]["responses"]
        assert str(answer.status_code) in responses, f"{template}: {answer.status_code} is not in the document"
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": self._document["components"]}
        jsonschema_rs.validate(whole, answer.json())
        self.seen.add((template, answer.status_code))
        return answer


@pytest.fixture
async def checked() -> Checked:
    gateway = make(gateway_max_wait_s=0.5)
    return Checked(gateway, (await gateway.get("/openapi.json")).json())


async def test_runs(checked: Checked) -> None:
    gateway, runs = checked._gateway, "/v1/runs"
    started = await checked.post(runs, runs, PROMPT, **{"idempotency-key": "k"})
    run_id = started.json()["run_id"]
    await checked.post(runs, runs, PROMPT | {"prompt": "!"}, **{"idempotency-key": "k"})
    await checked.post(f"/v1/runs/{run_id}/cancel", "/v1/runs/{run_id}/cancel", b"")
    for end in ({"output": {"a": 1}}, {"error": {"type": "timeout", "message": "m"}}):
        gateway.index.end(run_id, "assistant", **end)  # type: ignore[arg-type]
        await checked.post(f"{runs}?wait=1", runs, PROMPT, **{"idempotency-key": "k"})
    await checked.post(f"/v1/runs/{run_id}/cancel", "/v1/runs/{run_id}/cancel", b"")
    await checked.post("/v1/runs/none/cancel", "/v1/runs/{run_id}/cancel", b"")
    await checked.post(runs, runs, {"agent": "nobody", "prompt": "?"})
    await checked.post(runs, runs, b"{")
    await checked.post(runs, runs, {})
    await checked.post(runs, runs, PROMPT, **{"content-type": "text/plain"})
    gateway.publisher.fail = DependencyUnavailable("away")
    await checked.post(runs, runs, PROMPT)
    cancel = {("/v1/runs/{run_id}/cancel", status) for status in (202, 404, 409)}
    assert checked.seen == {(runs, status) for status in (200, 202, 400, 409, 415, 422, 503)} | cancel


async def test_the_doors(checked: Checked) -> None:
    gateway, run, status = checked._gateway, "/agents/run", "/agents/status/{run_id}"
    run_id = (await checked.post(run, run, RUN)).json()["run_id"]
    await checked.post(run, run, RUN)
    await checked.post(run, run, RUN | {"agent_type": "nobody"})
    await checked.post(run, run, {})
    await checked.get(f"/agents/status/{run_id}", status)
    for end in ({"output": {"a": 1}}, {"error": {"type": "timeout", "message": "m"}}):
        gateway.index.end(run_id, "policy-checker", **end)  # type: ignore[arg-type]
        await checked.get(f"/agents/status/{run_id}", status)
    await checked.get("/agents/status/none", status)
    await checked.post("/agent", "/agent", {"prompt": "?"})
    for end in ({"output": "That."}, {"error": {"type": "timeout", "message": "m"}}):
        gateway.publisher.calls.clear()
        asking = asyncio.create_task(checked.post("/agent", "/agent", {"prompt": "?"}))
        gateway.index.end(await published(gateway), "assistant", **end)  # type: ignore[arg-type]
        await asking
    await checked.post("/agent", "/agent", b"{")
    gateway.index.away = True
    await checked.get(f"/agents/status/{run_id}", status)
    gateway.publisher.fail = DependencyUnavailable("away")
    await checked.post("/agent", "/agent", {"prompt": "?"})
    answers = {("/agent", code) for code in (200, 400, 502, 503, 504)}
    answers |= {(run, code) for code in (202, 400, 409, 422)}
    assert checked.seen == answers | {(status, code) for code in (200, 404, 503)}

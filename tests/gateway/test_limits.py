"""Rate limits: what passes, what is refused and how, and that nobody pays for somebody else."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.limits import Bucket
from headrace.messages.errors import FatalError
from headrace.observe.metrics import GATEWAY_LIMITED
from tests.gateway.senders import CONFIGS, deliveries, secrets
from tests.gateway.support import Gateway, error_of, github_headers, signature
from tests.gateway.test_approvals import APPROVE, QUESTION

BODY = b"{}"
ENVELOPE = {"source": "shop", "event_type": "a.b", "payload": {}}


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limited(clock: Clock, **given: Any) -> Gateway:
    return Gateway(secrets(), monotonic=clock, **given)


async def deliver(gateway: Gateway, name: str = "github") -> tuple[int, str | None]:
    delivery = deliveries(name)[0]
    answer = await gateway.post(delivery.path, delivery.body, delivery.headers)
    return answer.status_code, answer.headers.get("retry-after")


async def test_a_source_s_deliveries_past_its_rate_come_later() -> None:
    clock = Clock()
    gateway = limited(clock, gateway_source_rate=0.5, gateway_burst_s=4)
    assert [(await deliver(gateway))[0] for _ in range(3)] == [202, 202, 503]
    assert await deliver(gateway) == (503, "2")
    assert (await deliver(gateway, "gitlab"))[0] == 202, "another source has a bucket of its own"
    clock.now += 2
    assert await deliver(gateway) == (202, None)
    assert (await deliver(gateway))[0] == 503
    assert len(gateway.publisher.sends) == 4, "what was refused left no record"


async def test_the_operator_s_word_goes_before_the_file_s_and_the_file_s_before_the_general_one() -> None:
    assert CONFIGS["github"].max_per_s is None
    clock = Clock()
    gateway = limited(
        clock, gateway_source_rate=1, gateway_source_rate_of={"github": 0, "gitlab": 3}, gateway_burst_s=1
    )
    assert {(await deliver(gateway))[0] for _ in range(9)} == {202}
    assert [(await deliver(gateway, "gitlab"))[0] for _ in range(4)] == [202, 202, 202, 503]
    assert [(await deliver(gateway, "bitbucket"))[0] for _ in range(2)] == [202, 503]


async def test_who_can_t_prove_itself_uses_up_nobody_s_room() -> None:
    gateway = limited(Clock(), gateway_source_rate=1, gateway_rate=1, gateway_burst_s=1)
    for _ in range(5):
        answer = await gateway.post("/webhooks/github", BODY, github_headers(BODY, secret="another"))
        assert answer.status_code == 401
        broken = b"{"
        headers = github_headers(broken) | {"x-hub-signature-256": signature(broken, "planted-secret-of-github")}
        assert (await gateway.post("/webhooks/github", broken, headers)).status_code == 400
    assert (await deliver(gateway))[0] == 202


async def test_a_refusal_by_the_limit_of_all_costs_the_source_nothing() -> None:
    clock = Clock()
    gateway = limited(clock, gateway_rate=1, gateway_source_rate_of={"github": 0.01}, gateway_burst_s=1)
    assert (await deliver(gateway, "gitlab"))[0] == 202
    assert await deliver(gateway) == (503, "1")
    clock.now += 1
    assert (await deliver(gateway))[0] == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/events", ENVELOPE),
        ("/v1/runs", {"agent": "pr-reviewer", "input": {"title": "a"}}),
        ("/agents/run", {"agent_type": "pr-reviewer", "user_id": "u", "input": {"title": "a"}}),
    ],
)
async def test_a_caller_of_the_api_gets_429(path: str, body: dict[str, Any]) -> None:
    gateway = limited(Clock(), gateway_rate=0.1, gateway_burst_s=10, gateway_agent_runs=5)
    before = GATEWAY_LIMITED.labels("api").value
    async with gateway.client() as client:
        assert (await client.post(path, json=body)).status_code == 202
        refused = await client.post(path, json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert "rate_limited" in refused.text or "detail" in refused.json()
    assert len(gateway.publisher.sends) == 1
    assert len(gateway.turns.held) == (path == "/agents/run"), "a refused request takes no turn"
    assert GATEWAY_LIMITED.labels("api").value == before + 1


async def test_a_decision_counts_for_the_rate() -> None:
    gateway = limited(Clock(), gateway_rate=0.1, gateway_burst_s=10)
    for name in ("6f1d8f2c-53b5-5d0e-9a35-6865616472c1", "6f1d8f2c-53b5-5d0e-9a35-6865616472c2"):
        gateway.approvals.rows[name] = replace(QUESTION, id=name, call_id=name)
    gateway.publisher.then = lambda: gateway.approvals.settle(gateway.publisher.sends[-1].message)
    async with gateway.client() as client:
        paths = [f"/v1/approvals/{name}/decision" for name in gateway.approvals.rows]
        assert [(await client.post(path, json=APPROVE)).status_code for path in paths] == [200, 429]


async def test_a_refused_request_with_an_idempotency_key_may_be_made_again() -> None:
    clock = Clock()
    gateway = limited(clock, gateway_rate=1, gateway_burst_s=1)
    body = {"agent": "pr-reviewer", "input": {"title": "a"}, "idempotency_key": "k"}
    async with gateway.client() as client:
        await client.post("/v1/runs", json=body | {"idempotency_key": "other"})
        assert error_of(await client.post("/v1/runs", json=body))["code"] == "rate_limited"
        clock.now += 1
        assert (await client.post("/v1/runs", json=body)).status_code == 202


async def test_a_batch_larger_than_the_bucket_passes_and_is_owed_for() -> None:
    clock = Clock()
    gateway = limited(clock, gateway_rate=10, gateway_burst_s=1)
    events = [{"specversion": "1.0", "id": str(n), "source": "/a", "type": "b"} for n in range(30)]
    async with gateway.client() as client:
        headers = {"content-type": "application/cloudevents-batch+json"}
        assert (await client.post("/events", json=events, headers=headers)).status_code == 202
        refused = await client.post("/events", json=ENVELOPE)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
        clock.now += 3
        assert (await client.post("/events", json=ENVELOPE)).status_code == 202


async def test_handshakes_and_reading_are_not_limited() -> None:
    gateway = limited(Clock(), gateway_rate=0.1, gateway_burst_s=1)
    assert (await deliver(gateway))[0] == 202
    assert (await gateway.get("/v1/agents")).status_code == 200


def test_a_rate_of_no_source_is_refused_by_name() -> None:
    with pytest.raises(FatalError, match="GATEWAY_SOURCE_RATE_OF names 'githbu'"):
        Gateway(gateway_source_rate_of={"githbu": 1})


@settings(max_examples=50)
@given(
    rate=st.floats(0.01, 1000),
    burst=st.floats(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=40),
)
def test_what_passes_is_never_more_than_burst_and_rate_and_one_request(
    rate: float, burst: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now, passed, last = Bucket(rate, burst, 0.0), 0.0, 0, 0
    for seconds, records in steps:
        now += seconds
        if not (seconds := bucket.wait(now)):
            bucket.take(records)
            passed += records
            last = records
        else:
            assert copy(bucket).wait(now + seconds * 1.001) == 0, "after the time that it names it lets pass"
        assert passed <= burst + rate * now + last + 1e-6

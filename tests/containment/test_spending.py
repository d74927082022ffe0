"""Budgets on the real mesh: what runs use is what the budget says, whatever is killed, and nothing goes out past it."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import httpx2
import orjson
import pytest

from headrace.cli.who import who
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.result import AgentResult
from tests.containment.hostile import Hostile
from tests.runtime.kafka import read_all
from tests.support.mesh import until
from tests.support.simulator import script

pytestmark = pytest.mark.xdist_group("containment")

TOKENS = 2_000
A_CALL = 100
REPLY = {"text": "done", "usage": {"input_tokens": A_CALL - 10, "output_tokens": 10}, "latency_ms": 100}


def results(hostile: Hostile) -> list[dict[str, Any]]:
    """As anybody reads them who has the schema."""
    schema = fastavro.parse_schema(AVRO_FORMS[AgentResult].schema)
    values = [BytesIO(record.value[5:]) for record in read_all(hostile.mesh.settings, "agent.results")]
    return [fastavro.schemaless_reader(value, schema, None) for value in values]  # type: ignore[misc]


def accounts(hostile: Hostile) -> dict[str, dict[str, Any]]:
    found = orjson.loads(hostile.mesh.cli("budgets", "usage", "--json").stdout)
    return {row["budget"]: row for row in found}


def test_a_budget_holds_through_a_kill_and_is_what_the_log_says(hostile: Hostile, tmp_path: Path) -> None:
    mesh = hostile.mesh
    hostile.publish(tmp_path, "spender", "[]")
    file = tmp_path / "budgets.yaml"
    file.write_text(
        f"- {{name: daily, scope: agent, agent: spender, window: day, tokens: {TOKENS}}}\n- {{name: all, scope: tenant, usd: 900}}"
    )
    mesh.cli("budgets", "set", str(file))
    hostile.simulator.play(script({"reply": REPLY}))
    runs = [hostile.job("spender", prompt="go") for _ in range(8)]
    until(lambda: hostile.simulator.requests.total >= 3, 30, "some calls are under way")
    mesh.kill("reasoning")
    mesh.start("reasoning")
    first = [mesh.run(run_id) for run_id in runs]
    assert {run["state"] for run in first} <= {"completed", "failed"}

    body = orjson.dumps({"agent": "spender", "prompt": "go"})
    statuses: list[int] = []
    deadline = time.monotonic() + 60
    while 429 not in statuses and time.monotonic() < deadline:
        response = mesh.gateway.post("/v1/runs?wait=20", content=body, headers={"content-type": "application/json"})
        statuses.append(response.status_code)
    assert statuses[-1] == 429, statuses
    assert response.json()["error"]["code"] == "budget_exhausted"
    assert 0 < int(response.headers["retry-after"]) <= 86_400

    ended = hostile.mesh.run(hostile.job("spender", prompt="go"))  # past the gateway: reasoning refuses it too
    assert ended["error"]["type"] == "budget_exhausted"
    assert ended["error"]["retryable"]
    assert ended["error"]["retry_at"].endswith("T00:00:00Z")

    mine = [result["usage"] for result in results(hostile) if result["agent_name"] == "spender"]
    used = sum(usage["input_tokens"] + usage["output_tokens"] for usage in mine)
    spent = accounts(hostile)
    assert spent["daily"]["spent_tokens"] == used, "what is spent is what the log says"
    assert spent["all"]["spent_tokens"] >= used
    assert TOKENS - A_CALL < used <= TOKENS, used
    assert 'budget_used_ratio{agent_name="spender",budget="daily",unit="tokens"}' in metrics(hostile)


def metrics(hostile: Hostile) -> str:
    def measured() -> str | None:
        text = httpx2.get(f"http://127.0.0.1:{hostile.mesh.ops['reasoning']}/metrics", trust_env=False).text
        return text if "budget_used_ratio{" in text else None

    return until(measured, 30, "the budget is measured")


def test_changes_are_in_the_audit_log(hostile: Hostile) -> None:
    hostile.mesh.cli("budgets", "remove", "daily")
    assert [row["name"] for row in orjson.loads(hostile.mesh.cli("budgets", "list", "--json").stdout)] == ["all"]
    hostile.mesh.cli("budgets", "show", "daily", expect=4)
    changes = [orjson.loads(record.value) for record in read_all(hostile.mesh.settings, "budget.changes")]
    assert [(change["name"], change["action"], change["changed_by"]) for change in changes] == [
        ("daily", "set", who()),
        ("all", "set", who()),
        ("daily", "removed", who()),
    ]
    until(
        lambda: b"budget_changed" in b"".join(r.value for r in read_all(hostile.mesh.settings, "audit.events")),
        30,
        "audited",
    )

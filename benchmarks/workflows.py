"""Workflows: what three steps in a row cost beside their models, and a thousand runs in flight.

    python -m benchmarks.workflows [--runs 200] [--in-flight 1000]

The mesh is real, each service a process of its own; the model is the simulator, which answers at once. Overhead is the time of a
run, from its start record to its end, less the time that its model calls took. For the runs in flight each waits for a signal in
its middle: all of them wait at once, then all go on, and each has to complete.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import percentile
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database

from headrace.local.endpoints import Endpoints
from headrace.local.stack import Stack
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator

SERVICES = ("gateway", "reasoning", "tools", "orchestration", "persistence")
SCRIPT = Script.model_validate({"rules": [{"match": {}, "reply": {"text": "ok"}}]})
ENDED = ("completed", "failed", "cancelled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of three steps, one after the other")
    parser.add_argument("--in-flight", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data:
        stack = Stack(Path(data))
        try:
            measure(stack.start(), options.runs, options.in_flight)
        finally:
            stack.stop()


def measure(endpoints: Endpoints, runs: int, in_flight: int) -> None:
    with Simulator(SCRIPT) as simulator, own_database(endpoints.database_url) as database:
        environment = {
            "HEADRACE_MODEL": "openai:gpt-4o",
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": simulator.openai_base_url,
        }
        with running_mesh(endpoints, "bench-", database, services=SERVICES, environment=environment) as mesh:
            three_steps(mesh, runs)
            all_at_once(mesh, in_flight)


def three_steps(mesh: Mesh, runs: int) -> None:
    """One run at a time, so that nothing but the steps themselves is in the way."""
    create(mesh, "three", [agent("a"), agent("b"), agent("c")])
    overheads = [one_run(mesh) for _ in range(runs + 5)][5:]
    shown = ", ".join(f"P{p} {percentile(overheads, p):.0f} ms" for p in (50, 95, 99))
    print(f"three agents in a row, {runs} runs one after the other: overhead {shown}")


def one_run(mesh: Mesh) -> float:
    run = ended(mesh, start(mesh, "three"), every_s=0.02)
    assert run["status"] == "completed", run
    spent = datetime.fromisoformat(run["ended_at"]) - datetime.fromisoformat(run["started_at"])
    jobs = [node["work"][0]["work_id"] for node in run["nodes"].values()]
    model_ms = sum(step["summary"].get("model_ms") or 0 for job in jobs for step in mesh.run(job)["records"])
    return spent.total_seconds() * 1_000 - model_ms


def all_at_once(mesh: Mesh, number: int) -> None:
    wait = {"id": "w", "type": "wait", "config": {"signal": "go"}}
    create(mesh, "parked", [agent("a"), wait, agent("b")])
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda _: start(mesh, "parked"), range(number)))
        until(lambda: waiting(mesh, ids), 600, "all of them wait")
        parked = time.monotonic()
        list(pool.map(lambda run_id: go(mesh, run_id), ids))
        runs = list(pool.map(lambda run_id: ended(mesh, run_id, every_s=0.5), ids))
    done = sum(run["status"] == "completed" for run in runs)
    assert done == number, f"{done} of {number} completed"
    print(
        f"{number} runs in flight: all waiting after {parked - began:.1f} s, all completed {time.monotonic() - parked:.1f} s later"
    )


def waiting(mesh: Mesh, ids: list[str]) -> bool:
    """The last ones first: most of the time one look is enough to know that it is too soon."""
    return all(look(mesh, run_id).get("nodes", {}).get("w", {}).get("status") == "running" for run_id in reversed(ids))


def agent(id_: str) -> dict[str, Any]:
    return {"id": id_, "type": "agent", "config": {"prompt": "go"}}


def create(mesh: Mesh, tag: str, nodes: list[dict[str, Any]]) -> None:
    edges = [{"from": a["id"], "to": b["id"]} for a, b in itertools.pairwise(nodes)]
    answer = mesh.gateway.post("/workflows", json={"tag": tag, "owner": "bench", "nodes": nodes, "edges": edges})
    assert answer.is_success, answer.text


def start(mesh: Mesh, tag: str) -> str:
    answer = mesh.gateway.post(f"/workflows/{tag}:run", json={})
    assert answer.is_success, answer.text
    return str(answer.json()["run_id"])


def go(mesh: Mesh, run_id: str) -> None:
    assert mesh.gateway.post(f"/workflow-runs/{run_id}/signals/go", json={}).is_success


def look(mesh: Mesh, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = mesh.gateway.get(f"/workflow-runs/{run_id}").json()
    return run


def ended(mesh: Mesh, run_id: str, *, every_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + 600
    while (run := look(mesh, run_id)).get("status") not in ENDED:
        assert time.monotonic() < deadline, run
        time.sleep(every_s)
    return run


if __name__ == "__main__":
    main()

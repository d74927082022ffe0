"""A checker that finds nothing wrong proves nothing: a bug for each invariant is planted, and must be found under its number."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

import pytest
from _pytest.mark import ParameterSet

from headrace.local.endpoints import Endpoints
from headrace.messages import ids
from headrace.messages.job import Job
from headrace.messages.run import CallRequest
from headrace.runtime.engine import Bounds
from tests.faults import planted
from tests.faults.arena import Shared
from tests.faults.cells import BY_NAME
from tests.faults.matrix import run_cell
from tests.reasoning.bench import ScriptedModel, text_reply
from tests.reasoning.bench import job as a_job
from tests.reasoning.test_rerun import live, rerun

CASES = {
    "1": ("calm", "invariant 1:"),
    "2": ("calm", "invariant 2:"),
    "3": ("calm", "invariant 3:"),
    "4": ("calm", "invariant 4:"),
    "5": ("kills", "invariant 5:"),
    "6": ("zombies", "invariant 6:"),
    "7": ("storm", "invariant 7:"),
    "8": ("commit-answers-lost", "invariant 8:"),
    "9": ("calm", "invariant 9:"),
    "10": ("kills", "invariant 10:"),
    "12": ("calm", "invariant 12:"),
    "13": ("revoked-while-paused", "invariant 13:"),
    "14": ("damaged-metadata", "invariant 14:"),
    "15": ("poison", "invariant 15:"),
}

TRIES = 3
SETUPS: dict[str, dict[str, object]] = {
    "1": {"limit_s": 4.0},  # slowness alone must not look like these two
    "13": {"limit_s": 4.0},
    "5": {"delay_s": 0.5},  # much is finished out of order, so that there is something in the map
    "6": {"delay_s": 1.5, "drain_s": 2.0},  # whoever is stopped has a queue to go on with
    "7": {"delay_s": 2.0, "keys": 300, "drain_s": 2.0},  # something of each partition is always at work
    "12": {"bounds": Bounds(max_in_flight=4), "delay_s": 0.3},  # more comes than may be at work
    "15": {"others_wait_s": 3.0, "drain_s": 2.0},
}
SECONDS = {"7": 3.0, "15": 5.0}
BEHIND_PROXIES = {"8"}  # whose answers are lost there; all other cells harm nobody but their own workers


def case(invariant: str) -> ParameterSet:
    group = pytest.mark.xdist_group("three brokers")
    return pytest.param(invariant, marks=[group] if invariant in BEHIND_PROXIES else [])


@pytest.mark.parametrize("invariant", [case(invariant) for invariant in CASES])
def test_a_planted_bug_is_found(request: pytest.FixtureRequest, stack: Endpoints, invariant: str) -> None:
    name, expected = CASES[invariant]
    ground = request.getfixturevalue("battleground") if invariant in BEHIND_PROXIES else Shared(stack)
    cell = BY_NAME[name]
    setup = replace(cell.setup, **{"limit_s": 2.0} | SETUPS.get(invariant, {}))  # type: ignore[arg-type]
    seconds = SECONDS.get(invariant, cell.short_s)
    for _ in range(TRIES):  # a bug need not show in every few seconds of a machine that is never twice the same
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        verdict, _, _ = run_cell(replace(cell, setup=setup), ground, seed, seconds, protocol="consumer", bug=invariant)
        if any(violation.startswith(expected) for violation in verdict.violations):
            return
    pytest.fail(f"not found in {TRIES} runs: {verdict}")


def test_every_invariant_has_a_bug() -> None:
    assert set(planted.BUGS) == set(CASES)
    assert {*CASES, "11"} == {str(number) for number in range(1, 16)}


async def test_commands_that_are_not_a_function_of_the_records_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """11: a call's idempotency key is drawn instead of derived."""
    call = CallRequest(id="x", name="execute_pipeline", arguments={"a": 1})
    model = ScriptedModel(text_reply(None, tool_calls=(call,)), *[text_reply('{"risk": "low"}') for _ in range(4)])
    job: Job = a_job()
    (inputs, outputs), bench = await live(model, job, [{"a": 1}], [10])
    assert await rerun(inputs, outputs, bench.blobs) == outputs
    monkeypatch.setattr(ids, "call_key", lambda *_: str(uuid.uuid4()))
    assert await rerun(inputs, outputs, bench.blobs) != outputs

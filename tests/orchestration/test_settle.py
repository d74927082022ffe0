"""What settles a pending call, and with what the run goes on: every cell of the table, and the record after the last of them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from headrace.messages import ids
from headrace.messages.run import ToolCalls, ToolError, ToolResults
from headrace.messages.wait import Kind, Reported, WaitCompletion, arguments_hash
from headrace.orchestration.waits.resume import resumed
from headrace.orchestration.waits.settle import Question, Settled, by_completion, by_result
from tests.orchestration.records import (
    DEADLINE_MS,
    HASH,
    PARKED_MS,
    child_result,
    decided,
    outcome,
    said,
    wait,
)

REPORTED = said(cause="reported", reported=Reported(content={"done": True}))
SAID: dict[str, WaitCompletion] = {
    "approve": decided(),
    "deny": decided("deny", reason="too much"),
    "reported": REPORTED,
    "due": said(cause="due"),
    "cancelled": said(cause="cancelled"),
}
# kind -> what is said -> state and error type (None: an outcome that is no error, or an approval)
CELLS: dict[Kind, dict[str, tuple[str, str | None]]] = {
    "approval": {
        "approve": ("approved", None),
        "deny": ("denied", "denied"),
        "due": ("due", "denied"),
        "cancelled": ("cancelled", "cancelled"),
    },
    "agent": {"due": ("due", "timeout")},
    "callback": {"reported": ("reported", None), "due": ("due", "timeout"), "cancelled": ("cancelled", "cancelled")},
    "timer": {"due": ("due", None), "cancelled": ("cancelled", "cancelled")},
    "kube_job": {"reported": ("reported", None), "due": ("due", "timeout"), "cancelled": ("cancelled", "cancelled")},
    "intent": {
        "approve": ("approved", None),
        "deny": ("denied", "denied"),
        "reported": ("reported", None),
        "due": ("due", "outcome_unknown"),
        "cancelled": ("cancelled", "cancelled"),
    },
}


def question(kind: Kind = "approval") -> Question:
    parked = wait(kind)
    return Question(parked, parked.pending[0], parked.calls[0], PARKED_MS + 5)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("what", SAID)
def test_every_cell(kind: Kind, what: str) -> None:
    settled = by_completion(question(kind), SAID[what])
    expected = CELLS[kind].get(what)
    if expected is None:
        assert settled is None
        return
    assert settled is not None
    error = settled.outcome.error.type if settled.outcome and settled.outcome.error else None
    assert (settled.state, error) == expected
    assert (settled.outcome is None) == (settled.approval is not None) == (expected[0] == "approved")


def test_a_decision_about_other_arguments_settles_nothing() -> None:
    assert by_completion(question(), decided(arguments_hash="0" * 64)) is None
    assert by_completion(question(), said(cause="decision")) is None, "nobody decided"


@pytest.mark.parametrize("edited", [None, {"amount": 1}])
def test_an_approval_is_bound_to_the_arguments_that_will_run(edited: dict[str, Any] | None) -> None:
    settled = by_completion(question(), decided(arguments=edited))
    assert settled is not None
    approval = settled.approval
    assert approval is not None
    digest = HASH if edited is None else arguments_hash(edited)
    assert approval.proof == ids.approval_proof("t", "run-1", 1, "call_1_1", "pay", digest)
    assert (approval.arguments_hash, approval.decided_by, approval.decided_ms) == (digest, "key-7", PARKED_MS + 5)
    assert (settled.arguments, approval.edited) == (edited, edited is not None)


def test_what_a_sub_agent_spent_is_its_parent_s() -> None:
    settled = by_result(question("agent"), child_result(), outcome(1))
    assert settled is not None
    assert (settled.spent.input_tokens, settled.spent.cost_usd, settled.runs) == (8, 0.25, 3)
    assert by_result(question("approval"), child_result(), outcome(1)) is None


def test_all_outcomes_go_on_in_the_order_of_the_calls() -> None:
    parked = wait("agent", "agent", done=1)
    settled = {
        f"call_1_{n}": Settled(state="answered", outcome=outcome(n), spent=child_result().usage, runs=2) for n in (3, 2)
    }
    record = resumed(parked, settled, parked_ms=PARKED_MS, closed_ms=PARKED_MS + 9_000)
    assert isinstance(record, ToolResults)
    assert [one.call_id for one in record.results] == ["call_1_1", "call_1_2", "call_1_3"]
    assert (record.progress.tool_calls, record.progress.children) == (5, 4)
    assert record.progress.delegated.input_tokens == 14
    assert record.progress.usage == parked.progress.usage, "its own usage is its own"
    assert record.run.deadline_ms == DEADLINE_MS, "sub-agents take the run's own time"


def test_an_approved_call_is_made_with_its_approval_and_time_stood_still() -> None:
    parked = wait("approval", "approval", done=1, round=1)
    yes = by_completion(question(), decided(arguments={"amount": 1}))
    no = Settled(state="denied", outcome=outcome(3).replace(status="error", error=ToolError(type="denied", message="")))
    assert yes is not None
    assert yes.approval is not None
    settled = {"call_1_2": yes.replace(approval=yes.approval.replace(call_id="call_1_2")), "call_1_3": no}
    record = resumed(parked, settled, parked_ms=PARKED_MS, closed_ms=PARKED_MS + 3_600_000)
    assert isinstance(record, ToolCalls)
    assert record.message_id() == "run-1:1:calls:2"
    assert [one.call_id for one in record.results] == ["call_1_1", "call_1_3"]
    assert [one.call_id for one in record.approvals] == ["call_1_2"]
    assert [one.arguments.get("amount") for one in record.calls] == [12, 1, 12]
    assert record.turns == (), "they are counted in the record before"
    assert record.run.deadline_ms == DEADLINE_MS + 3_600_000

"""What becomes of the pointer to the live version, change after change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.audit.facts import of_message
from headrace.messages.agent import AgentRecord, Canary, WasLive
from headrace.registry import pointer
from headrace.registry.pointer import By, CantChange, NothingBefore, RevisionConflict

BY = By("key-1", "2026-11-26T08:00:00.000Z", "because")
V1 = AgentRecord(name="a", live_version="1.0.0")  # as it was written before changes were counted


def test_a_promotion_keeps_what_was_live_and_says_who_did_it() -> None:
    made = pointer.promoted(V1, "a", "2.0.0", BY)
    assert (made.live_version, made.revision, made.change, made.replaced) == ("2.0.0", 1, "promoted", "1.0.0")
    assert (made.changed_by, made.changed_at, made.reason) == ("key-1", BY.at, "because")
    assert made.before == (WasLive(version="1.0.0", until=BY.at, ended_by="key-1"),)
    assert pointer.promoted(made, "a", "2.0.0", BY) is made


def test_a_rollback_ends_a_canary_first_however_it_grew() -> None:
    grown = pointer.canary(pointer.canary(V1, "2.0.0", 5, BY), "2.0.0", 50, BY)
    assert (grown.live_version, grown.canary, grown.revision) == ("1.0.0", Canary(version="2.0.0", percent=50), 2)
    assert pointer.canary(grown, "2.0.0", 50, BY) is grown
    ended = pointer.rolled_back(grown, BY)
    assert (ended.live_version, ended.canary, ended.replaced, ended.before) == ("1.0.0", None, "2.0.0", ())
    with pytest.raises(NothingBefore):
        pointer.rolled_back(ended, BY)


def test_after_a_canary_was_promoted_a_rollback_takes_all_of_it_away() -> None:
    canary = pointer.canary(pointer.promoted(V1, "a", "1.1.0", BY), "2.0.0", 50, BY)
    whole = pointer.promoted(canary, "a", "2.0.0", BY)
    assert (whole.live_version, whole.canary, whole.replaced) == ("2.0.0", None, "1.1.0")
    back = pointer.rolled_back(whole, BY)
    assert (back.live_version, back.canary, back.change, back.replaced) == ("1.1.0", None, "rolled_back", "2.0.0")
    assert pointer.rolled_back(back, BY).live_version == "1.0.0"


def test_publishing_ends_a_canary() -> None:
    made = pointer.published(pointer.canary(V1, "2.0.0", 5, BY), "a", "3.0.0", BY)
    assert (made.live_version, made.canary, made.change) == ("3.0.0", None, "published")
    first = pointer.published(None, "a", "1.0.0", BY)
    assert (first.live_version, first.replaced, first.before) == ("1.0.0", None, ())


@pytest.mark.parametrize("there", [None, AgentRecord(name="a"), pointer.promoted(V1, "a", "2.0.0", BY)])
def test_a_canary_needs_another_version_to_be_live(there: AgentRecord | None) -> None:
    with pytest.raises(CantChange):
        pointer.canary(there, "2.0.0", 5, BY)


def test_whoever_decided_by_something_else_changes_nothing() -> None:
    pointer.check_revision(None, 0)
    pointer.check_revision(V1, None)
    with pytest.raises(RevisionConflict):
        pointer.check_revision(pointer.promoted(V1, "a", "2.0.0", BY), 0)


@given(st.lists(st.sampled_from(["1.0.0", "2.0.0", "3.0.0", "back"]), max_size=60))
def test_rolling_back_goes_through_all_that_was_live_in_reverse(steps: list[str]) -> None:
    there, live = V1, ["1.0.0"]
    for step in steps:
        if step != "back":
            there = pointer.promoted(there, "a", step, BY)
            live = live if live[-1] == step else [*live, step][-21:]
        elif len(live) > 1:
            there, _ = pointer.rolled_back(there, BY), live.pop()
        assert there.live_version == live[-1]
        assert [one.version for one in there.before] == live[-2::-1]


def test_audit_has_who_from_where_to() -> None:
    canary = pointer.canary(V1, "2.0.0", 5, BY)
    facts = of_message(canary)
    assert (facts["status"], facts["agent_version"], facts["origin"]) == ("canary", "2.0.0", "1.0.0")
    assert facts["user_id"] == "key-1"
    facts = of_message(pointer.promoted(canary, "a", "2.0.0", BY))
    assert (facts["status"], facts["agent_version"], facts["origin"]) == ("live", "2.0.0", "1.0.0")
    facts = of_message(pointer.rolled_back(canary, BY))
    assert (facts["status"], facts["agent_version"], facts["origin"]) == ("rolled_back", "1.0.0", "2.0.0")
    assert of_message(V1)["status"] == "live"

"""The decisions of a shadow replay: which events, which candidate, which answers, and what the pairs say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.differences import differences
from headrace.messages.event import Event
from headrace.messages.ids import content_ref
from headrace.messages.lineage import ForkedFrom
from headrace.messages.result import AgentResult, ResultError, SessionTurn
from headrace.messages.run import SessionState, ToolCall, ToolCalls, ToolResults, Usage
from headrace.reasoning.entries import canonical
from headrace.registry.candidate import InvalidCandidate, changed
from headrace.replay.evaluators.checks import Judged
from headrace.replay.evaluators.definitions import Exact
from headrace.replay.evaluators.tally import Tally
from headrace.replay.shadow.account import Account, Pair, Results, is_live, note
from headrace.replay.shadow.answers import Answers
from headrace.replay.shadow.choice import in_baseline, shadow_job, skipped
from headrace.replay.shadow.compare import compare
from headrace.replay.shadow.estimate import runs_by_model
from headrace.replay.shadow.page import page
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan, check_expression
from headrace.replay.shadow.range import Forecast, Seen
from headrace.replay.shadow.report import report
from headrace.replay.shadow.runs import MISS
from headrace.replay.shadow.sessions import Place
from headrace.replay.shadow.statistics import mean_difference, quantiles, share
from headrace.runtime.api import Source
from tests.persistence.records import a_result, a_run
from tests.replay.shadows import TICKETS, event, live_id

SESSION = SessionTurn(found=SessionState(), left=SessionState(turns=1), pipeline_usage={})
NEWER = TICKETS.replace(version="2.0.0", system_prompt="Look twice.")


FORKED = ForkedFrom(run_id="run-1", step=0, edited=("prompt",), by="me")


def plan(**changes: Any) -> ShadowPlan:
    values: dict[str, Any] = {
        "replay_id": "one",
        "tenant": "default",
        "from_ms": 0,
        "to_ms": 1,
        "ranges": {0: (0, 10)},
        "live": TICKETS,
        "candidate": NEWER,
    }
    return ShadowPlan.settled(**{**values, **changes})


# --- plan and choice ------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_same_after_it_was_kept() -> None:
    kept = plan(cohort="data.number", results_from={0: 7})
    assert (kept.ranges, kept.results_from, kept.candidate) == ({0: (0, 10)}, {0: 7}, NEWER)
    assert kept.stage.group == "headrace.shadow.one"
    assert kept.stage.dead_letters == "shadow.dlq"
    for wrong in ({"replay_id": "Of/this"}, {"sample": 0.0}, {"max_cost_usd": 0}, {"max_in_flight": 0}):
        with pytest.raises(InvalidPlan):
            plan(**wrong)


def test_a_candidate_differs_and_has_a_version_of_its_own() -> None:
    assert changed(TICKETS, NEWER) is NEWER
    assert changed(TICKETS, model="offline").version == "1.0.0-shadow"
    assert changed(TICKETS.replace(version="1.0.0-rc.1"), prompt="x").version == "1.0.0-rc.1.shadow"
    assert changed(TICKETS, TICKETS.replace(system_prompt="other")).version == "1.0.0-shadow"
    for same in ({}, {"model": TICKETS.model}, {"prompt": TICKETS.system_prompt}, {"other": NEWER.replace(name="x")}):
        with pytest.raises(InvalidCandidate):
            changed(TICKETS, **same)
    with pytest.raises(InvalidCandidate, match="runtime http"):
        changed(TICKETS, NEWER.replace(runtime="http"))
    with pytest.raises(InvalidPlan, match="--where"):
        check_expression("--where", "data.")


@pytest.mark.parametrize(
    ("one", "change", "reason"),
    [
        (event(1), {}, None),
        (event(1, tenant="other"), {}, "tenant"),
        (event(1, type="order.paid"), {}, "trigger"),
        (event(1_001), {}, "trigger"),
        (event(1), {"cohort": "data.number > `1`"}, "cohort"),
        (event(2), {"cohort": "data.number > `1`"}, None),
        (event(1), {"candidate": NEWER.replace(triggers=())}, "trigger"),
    ],
)
def test_why_an_event_is_not_replayed(one: Event, change: dict[str, Any], reason: str | None) -> None:
    assert skipped(plan(**change), one) == reason


def test_a_sample_is_the_share_that_was_asked_for_and_always_the_same() -> None:
    events = [event(number) for number in range(999)]
    sampled = plan(sample=0.3, baseline=0.5)
    chosen = [one for one in events if skipped(sampled, one) is None]
    assert 240 < len(chosen) < 360
    assert [one for one in events if skipped(sampled, one) is None] == chosen
    assert 0.4 < sum(in_baseline(sampled, one) for one in chosen) / len(chosen) < 0.6


def test_each_try_of_an_event_is_a_run_of_its_own() -> None:
    one = event(1)
    jobs = [
        shadow_job(plan(), one, definition, replay_id)
        for definition, replay_id in ((NEWER, "one"), (TICKETS, "one~base"), (NEWER, "two"))
    ]
    assert len({job.job_id for job in jobs} | {live_id(one)}) == 4
    assert {job.context.session_id for job in jobs} == {live_id(one)}


# --- answers --------------------------------------------------------------------------------------------------------------


def records(run_id: str, **run: Any) -> tuple[ToolCalls, ToolResults]:
    """A live run's one turn of tools."""
    made = [message for message, _ in a_run(run_id, turns=1)]
    calls = next(one for one in made if isinstance(one, ToolCalls))
    results = next(one for one in made if isinstance(one, ToolResults))
    return calls.replace(run=calls.run.replace(**run)), results.replace(run=results.run.replace(**run))


def asking(arguments: dict[str, Any]) -> ToolCall:
    return ToolCall(call_id="mine", tool="execute_pipeline", tool_version="9", arguments=arguments, idempotency_key="k")


@pytest.mark.parametrize("turned", [False, True])
def test_an_answer_is_found_by_tool_and_arguments(turned: bool) -> None:
    answers = Answers("reviewer")
    for number in (1, 2):
        calls, results = records(f"run-{number}", event_uid=f"e-{number}")
        calls = calls.replace(calls=(calls.calls[0].replace(arguments={"b": [1], "a": "x"}),))
        results = results.replace(results=(results.results[0].replace(content=number),))
        for message in (results, calls) if turned else (calls, results):
            answers.note(message)
    found = answers.find(asking({"a": "x", "b": [1]}), "e-1")
    assert found is not None
    assert (found.call_id, found.content) == ("mine", 1)
    assert answers.find(asking({"a": "x", "b": [1]}), "e-9").content == 2  # type: ignore[union-attr]
    large = asking({}).replace(arguments_ref=content_ref(canonical({"a": "x", "b": [1]}).encode()))
    assert answers.find(large, "e-1") == found
    assert answers.find(asking({"a": "x", "b": [2]}), "e-1") is None
    assert answers.find(asking({"a": "x", "b": [1]}).replace(tool="other"), "e-1") is None


def test_only_live_runs_of_the_agent_answer() -> None:
    answers = Answers("reviewer")
    other = records("r")[0].run.agent.replace(name="other")
    for strange in ({"replay_id": "one"}, {"agent": other}, {"forked_from": FORKED}):
        for message in records("run", **strange):
            answers.note(message)
    assert len(answers) == 0


# --- what it costs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "chosen", "baseline", "asked"),
    [
        ({"baseline": 0.1}, 10, 2, {"openai:sim": 12}),  # another prompt: both sides ask one model
        ({}, 10, 0, {"openai:sim": 10}),
        (
            {"candidate": NEWER.replace(model="openai:newer"), "baseline": 0.1},
            10,
            2,
            {"openai:newer": 10, "openai:sim": 2},
        ),
        ({"baseline": 0.1}, 0, 0, {}),
        ({"baseline": 0.1, "follow": True}, 0, 0, {"openai:sim": 0}),  # nothing has come yet
        ({"candidate": NEWER.replace(model="openai:newer"), "follow": True}, 0, 0, {"openai:newer": 0}),
    ],
)
def test_every_model_that_is_asked_is_in_the_estimate(
    change: dict[str, Any], chosen: int, baseline: int, asked: dict[str, int]
) -> None:
    assert runs_by_model(plan(**change), Forecast(chosen=chosen, baseline=baseline)) == asked
    assert set(runs_by_model(plan(**change), Forecast(chosen=chosen, baseline=baseline))) == set(asked)


# --- the account and the comparison ---------------------------------------------------------------------------------------


def result(number: int, risk: str | None = "low", *, error: str | None = None, **fields: Any) -> AgentResult:
    ended: dict[str, Any] = {"output": {"risk": risk, "why": {"text": f"as {risk}"}}}
    if error:
        ended = {"status": "failed", "output": None, "error": ResultError(type=error, message="it ended")}
    uid = event(number).uid
    return a_result(f"run-{number}", event_uid=uid, agent_name="triager", **ended, **fields)


def test_a_fork_is_not_the_run_that_an_event_had() -> None:
    assert is_live(plan(), result(1))
    for change in ({"forked_from": FORKED}, {"replay_id": "again"}, {"tenant": "other"}):
        assert not is_live(plan(), result(1, **change))


def test_every_record_is_booked_once() -> None:
    account = Account()
    shadow = {event(n).uid: result(n) for n in range(3)} | {event(3).uid: result(3, error=MISS)}
    results = Results(live={}, shadow=shadow, baseline={})
    numbers: list[int | None] = [0, 1, 2, 3, 4, 5, 1_001, None]
    for number in numbers:
        seen = Seen(Source("ingest.events", 0, number or 0), None if number is None else event(number))
        note(account, plan(), seen, results, dead=number == 5)
    assert (account.records, account.replayed, account.missing) == (8, 3, 1)
    assert account.failed == {MISS: 1, "dead_lettered": 1, "undecodable": 1}
    assert account.skipped == {"trigger": 1}
    assert not account.complete
    account.missing -= 1
    assert not account.complete  # one is still unaccounted for
    account.records -= 1
    assert account.complete


def pairs() -> Account:
    cheap, dear = Usage(cost_usd=0.01, input_tokens=100), Usage(cost_usd=0.03, input_tokens=100)
    return Account(
        records=4,
        pairs=[
            Pair("e-1", "t", result(1, usage=cheap), result(1, usage=dear), result(1)),
            Pair("e-2", "t", result(2, usage=cheap), result(2, "high", usage=dear), result(2, "high")),
            Pair("e-3", "t", result(3, usage=cheap), result(3, error="timeout", usage=dear)),
            Pair("e-4", "t", None, result(4)),
        ],
    )


def test_what_pairs_say() -> None:
    found = compare(pairs(), TICKETS, NEWER)
    assert found.outcome_field == "risk"
    assert found.transitions == {
        ("low", "low"): 1,
        ("low", "high"): 1,
        ("low", "timeout"): 1,
        ("(no live run)", "low"): 1,
    }
    assert found.agreement.outcome is not None
    assert (found.agreement.outcome.value, found.agreement.outcome.n) == (1 / 3, 3)
    assert found.noise.output is not None
    assert (found.noise.output.value, found.noise.output.n) == (0.5, 2)
    fields = {one.field: (one.compared, one.differ) for one in found.fields}
    assert fields == {"/risk": (2, 1), "/why/text": (2, 1)}
    cost = next(one for one in found.deltas if one.name == "cost_usd")
    assert (cost.live, cost.shadow) == pytest.approx((0.01, 0.03))
    assert cost.difference.value == pytest.approx(0.02)
    assert [one.event_uid for one in found.worst] == ["e-2", "e-3", "e-4"]
    assert found.worst[0].fields == ("/risk", "/why/text")


@pytest.mark.parametrize("hostile", ['"><script>alert(1)</script>', "</style><img src=x onerror=alert(1)>", "\x00&lt;"])
def test_a_page_holds_nothing_that_runs(hostile: str) -> None:
    account = pairs()
    account.pairs.append(Pair(hostile, hostile, result(5, "low"), result(5, hostile)))
    account.skipped[hostile] = account.failed[hostile] = 1
    tally = Tally(Exact(name="e", description=hostile, expected=1, at_least=0.5))
    verdicts = {side: Judged("fail", hostile) for side in ("candidate", "live", "baseline")}
    tally.add(verdicts, hostile, live_run=hostile, shadow_run=hostile)
    account.evaluated = [tally.facts()]
    account.sessions.note(Place("one", hostile, hostile, 0, 1), result(6, session=SESSION))
    named = TICKETS.replace(system_prompt=hostile, model=hostile)
    html = page(report(plan(live=named, cohort=hostile, session=hostile), account))
    assert html.count("<script") == html.count("<img") == html.count("onerror=alert(1)>") == 0
    assert "does not hold" in html
    assert "1 turns in 1 conversations" in html
    assert html.count("<style") == html.count("</style") == 1
    assert "src=" not in html.replace("src=x onerror", "")
    assert "default-src 'none'" in html


def test_an_empty_account_has_a_report() -> None:
    facts = report(plan(), Account())
    assert facts["agreement"] == {"outcome": None, "output": None}
    assert "None." in page(facts)


# --- statistics and differences -------------------------------------------------------------------------------------------


def test_intervals_by_the_book() -> None:
    interval = share(8, 10)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share(0, 5).low == 0  # type: ignore[union-attr]
    assert share(5, 5).high == 1  # type: ignore[union-attr]
    assert share(0, 0) is None
    difference = mean_difference([1, 2, 3, 4], [2, 4, 3, 8])
    assert difference is not None
    assert difference.value == 1.75
    assert (difference.low, difference.high) == pytest.approx((0.0765, 3.4235), abs=1e-3)
    assert quantiles([3.0]) == (3, 3, 3, 3, 3)
    assert quantiles([float(n) for n in range(101)]) == (5, 25, 50, 75, 95)
    assert mean_difference([1], [2]) == (1, None, None, 1)
    assert mean_difference([], []) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80)
@given(values, values)
def test_differences_are_there_exactly_where_values_differ(left: Any, right: Any) -> None:
    assert (next(differences(left, right), None) is None) == (canonical(left) == canonical(right))
    assert list(differences(left, left)) == []


def test_differences_are_named_by_pointer() -> None:
    left, right = {"a": [1, {"b/c": 2}], "d": 1}, {"a": [1, {"b/c": 3}, 4], "e": 1}
    assert [one.where for one in differences(left, right)] == ["/a/1/b~1c", "/a/2", "/d", "/e"]
    assert len(next(differences("x" * 9_000, "y")).left) < 500


def test_a_kept_definition_has_its_hash() -> None:
    assert plan().candidate.definition_hash == NEWER.definition_hash

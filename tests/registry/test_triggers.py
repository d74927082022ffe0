"""Triggers: globs on source and type, a JMESPath filter, and no failure whatever the event."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import ValidationError
from prometheus_client import REGISTRY

from headrace.messages.agent import Trigger
from headrace.messages.event import Event, Origin
from headrace.registry.builtin import builtin_definitions
from headrace.registry.filters import MAX_DEPTH, FilterFailed, InvalidFilter, compile_filter
from headrace.registry.triggers import MAX_PATTERN, match, miss, problems


def event(type_: str = "com.github.push", source: str = "https://github.com/acme/shop", data: Any = None) -> Event:
    return Event(
        uid="u",
        id="1",
        source=source,
        type=type_,
        time="2026-03-02T10:00:00Z",
        tenant="default",
        partition_key="k",
        data={} if data is None else data,
        severity="high",
        origin=Origin(kind="webhook", topic="ingest.raw", partition=3, offset=4),
    )


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger(type="com.github.push"), True),
        (Trigger(type="com.github.*"), True),
        (Trigger(type="COM.github.push"), False),
        (Trigger(type="com.github"), False),
        (Trigger(type="com?github.pus[gh]"), True),
        (Trigger(type="*", source="https://github.com/acme/*"), True),
        (Trigger(type="*", source="https://github.com/other/*"), False),
        (Trigger(type="comXgithub.push"), False),
    ],
)
def test_globs(trigger: Trigger, expected: bool) -> None:
    assert match(event(), trigger) is expected


@pytest.mark.parametrize(
    ("expression", "data", "expected"),
    [
        ("data.n > `3`", {"n": 4}, True),
        ("data.n > `3`", {"n": 3}, False),
        ("data.n", {"n": 0}, True),  # zero is true in JMESPath
        ("data.n", {"n": ""}, False),
        ("data.n", {"n": []}, False),
        ("data.n", {"n": {}}, False),
        ("data.n", {"n": False}, False),
        ("data.n", {"n": [0]}, True),
        ("data.n", {}, False),
        ("data.a.b.c", "text", False),
        ("severity == 'high' && type == 'com.github.push'", {}, True),
        ("origin.partition == `3`", {}, True),
        ("tenant == 'other'", {}, False),
        ("length(data.n) > `1`", {"n": [1, 2]}, True),
    ],
)
def test_filters(expression: str, data: Any, expected: bool) -> None:
    assert match(event(data=data), Trigger(type="*", filter=expression)) is expected


@pytest.mark.parametrize(
    "expression", ["length(data.n)", "sum(data)", "to_number(data) > abs('x')", "nope(data)", "a ||"]
)
def test_a_filter_that_fails_is_no_match_and_is_counted(expression: str) -> None:
    before = REGISTRY.get_sample_value("headrace_trigger_errors_total") or 0.0
    assert match(event(data={"n": 5}), Trigger(type="*", filter=expression), agent="a") is False
    assert REGISTRY.get_sample_value("headrace_trigger_errors_total") == before + 1


@pytest.mark.parametrize(
    "expression",
    [
        *("", "a ||", "a[", "`{`", "a == `main`", "!a.b", "x && !data.a[0]"),
        *("(" * 1999, "!" * 1999 + "a", "a[?" * 600, "`" + "[" * 1990 + "`", "&" * 1999),
        *("nope(data)", "merge(data, data)", "{a: data}", "[data, data]", "['a', [data]]", "to_string([data, data])"),
        *("data[*].[a]", "to_string(to_array(to_string(data)))"),
    ],
)
def test_what_is_no_useful_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        compile_filter(expression)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["!(a.b)", "!a", "!a && b.c", "b.c && !a", "a[?!b]"])
def test_a_negation_that_means_something_is_accepted(expression: str) -> None:
    assert compile_filter(expression)


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(InvalidFilter, match="at character 11"):
        compile_filter("data.a == ")
    with pytest.raises(InvalidFilter, match="at character 8"):
        compile_filter("data.a = 'x'")
    with pytest.raises(InvalidFilter, match=r"merge\(\)"):
        compile_filter("merge(data, data)")


DEEP = " && ".join(["a"] * MAX_DEPTH)


def test_a_chain_may_be_as_long_as_it_may_be_deep() -> None:
    assert compile_filter(DEEP)
    with pytest.raises(InvalidFilter, match="nested too deeply"):
        compile_filter(DEEP + " && a")


def _nested(levels: int) -> str:
    """Ten elements in each of ten in each of ten...: 10 ** levels of them, if anybody counted."""
    return "`[1,1,1,1,1,1,1,1,1,1]`[?" * levels + "@" + "]" * levels


def test_what_would_never_end_ends() -> None:
    assert compile_filter(_nested(3)).passes({})
    with pytest.raises(FilterFailed, match="steps"):
        compile_filter(_nested(60)).passes({})
    before = REGISTRY.get_sample_value("headrace_trigger_errors_total") or 0.0
    assert match(event(), Trigger(type="*", filter=_nested(60))) is False
    assert REGISTRY.get_sample_value("headrace_trigger_errors_total") == before + 1


@pytest.mark.parametrize("expression", ["join(data.a, data.b)", "join('', [data.a, data.a])"])
def test_text_that_is_joined_is_bounded(expression: str) -> None:
    assert compile_filter(expression).passes({"data": {"a": "x" * 10, "b": ["y"] * 10}})
    with pytest.raises(FilterFailed, match="join"):
        compile_filter(expression).passes({"data": {"a": "x" * 9_000, "b": ["y"] * 10}})


def test_a_pattern_of_stars_ends() -> None:
    assert match(event(type_="a" * 256), Trigger(type="*a" * 100 + "b")) is False


def test_a_large_event_is_within_the_steps() -> None:
    commits = [{"message": f"change {number}", "modified": ["docs/a.md"] * 3} for number in range(2_048)]
    expression = "data.commits[?contains(message, 'change 2047')].modified[] | [?starts_with(@, 'docs/')]"
    assert match(event(data={"commits": commits}), Trigger(type="*", filter=expression))


@pytest.mark.parametrize(
    ("trigger", "field"),
    [
        (Trigger(type=""), "type"),
        (Trigger(type="x" * (MAX_PATTERN + 1)), "type"),
        (Trigger(type="x", source=""), "source"),
        (Trigger(type="x", source="*" * (MAX_PATTERN + 1)), "source"),
        (Trigger(type="x", filter="a ||"), "filter"),
    ],
)
def test_a_trigger_that_can_not_be_published(trigger: Trigger, field: str) -> None:
    assert [problem.field for problem in problems(trigger)] == [field]
    assert match(event(type_="x"), trigger) is False


@pytest.mark.parametrize(
    ("trigger", "got", "why"),
    [
        (Trigger(type="x.*"), 0, "type com.github.push is not x.*"),
        (Trigger(type="*", source="s"), 1, "source https://github.com/acme/shop is not s"),
        (Trigger(type="*", filter="data.a"), 2, "filter data.a is false"),
        (Trigger(type="*", filter="abs(data)"), 2, "fails"),
    ],
)
def test_why_a_trigger_does_not_fire(trigger: Trigger, got: int, why: str) -> None:
    found = miss(event(), trigger)
    assert found is not None
    assert (found.got, why in found.why) == (got, True)


GRAMMAR = st.recursive(
    st.sampled_from(
        ["@", "data", "data.a", "type", "`1`", "`[1, 2]`", "'x'", "data.a[0]", "data.*", "data[]", "['a', 'b']"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" || ", " && ", " | ", " == ", " < "]), inner).map("".join),
        st.tuples(st.just("!("), inner, st.just(")")).map("".join),
        st.tuples(
            st.sampled_from(["length(", "to_string(", "keys(", "sort(", "to_number(", "max("]), inner, st.just(")")
        ).map("".join),
        st.tuples(st.just("data[?"), inner, st.just("]")).map("".join),
        st.tuples(st.just("map(&"), inner, st.just(", data)")).map("".join),
    ),
    max_leaves=8,
)


def test_expressions_are_bounded() -> None:
    with pytest.raises(ValidationError):
        Trigger.checked({"type": "*", "filter": "a" * 2001})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
NAMED = st.dictionaries(
    st.sampled_from(["pull_request", "check_run", "workflow_run", "commits", "ref", "action"]), JSON
)


@given(expression=GRAMMAR | st.text(max_size=30), data=JSON)
def test_no_expression_ever_breaks_a_match(expression: str, data: Any) -> None:
    trigger = Trigger(type="*", filter=expression)
    assert match(event(data=data), trigger) is (miss(event(data=data), trigger) is None)


@given(
    data=JSON | NAMED, type_=st.sampled_from(["com.github.push", "com.github.check_run.completed", "x.ticket.created"])
)
def test_built_in_triggers_never_fail(data: Any, type_: str) -> None:
    for definition in builtin_definitions():
        for trigger in definition.triggers:
            assert match(event(type_, data=data), trigger) in (True, False)


def _triggered(type_: str, data: Any) -> list[str]:
    found = event(type_, data=data)
    return [agent.name for agent in builtin_definitions() if any(match(found, trigger) for trigger in agent.triggers)]


PR, CI, SECURITY, NOTES, ISSUES = (
    ["pr-risk-reviewer"],
    ["ci-failure-triager"],
    ["security-alert-assessor"],
    ["release-note-drafter"],
    ["issue-classifier"],
)


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("com.github.pull_request.opened", {"pull_request": {"draft": False}}, PR),
        ("com.github.pull_request.opened", {"pull_request": {}}, PR),
        ("com.github.pull_request.opened", {"pull_request": {"draft": True}}, []),
        ("com.github.pull_request.synchronize", {"pull_request": {"draft": False}}, PR),
        ("com.github.pull_request.ready_for_review", {"pull_request": {"draft": False}}, PR),
        ("com.github.pull_request.reopened", {"pull_request": {"draft": False}}, PR),
        ("com.github.pull_request.closed", {"pull_request": {"draft": False}}, []),
        ("com.github.check_run.completed", {"check_run": {"conclusion": "failure"}}, CI),
        ("com.github.check_run.completed", {"check_run": {"conclusion": "timed_out"}}, CI),
        ("com.github.check_run.completed", {"check_run": {"conclusion": "success"}}, []),
        ("com.github.check_run.completed", {"check_run": {"conclusion": None}}, []),
        ("com.github.workflow_run.completed", {"workflow_run": {"conclusion": "failure"}}, CI),
        ("com.github.workflow_run.completed", {"workflow_run": {"conclusion": "success"}}, []),
        ("com.github.dependabot_alert.created", {"action": "created"}, SECURITY),
        ("com.github.dependabot_alert.fixed", {"action": "fixed"}, []),
        ("com.github.code_scanning_alert.created", {"action": "created"}, SECURITY),
        ("com.github.code_scanning_alert.closed_by_user", {"action": "closed_by_user"}, []),
        ("com.github.secret_scanning_alert.created", {"action": "created"}, SECURITY),
        ("com.github.repository_vulnerability_alert.create", {"action": "create"}, SECURITY),
        ("com.github.repository_vulnerability_alert.resolve", {"action": "resolve"}, []),
        ("com.github.issues.opened", {}, ISSUES),
        ("com.github.issues.labeled", {}, []),
        ("ticket.created", {}, ISSUES),
        ("org.example.ticket.created", {}, ISSUES),
        ("io.prometheus.alertmanager.alert.firing", {}, ["alert-summariser"]),
        ("io.prometheus.alertmanager.alert.resolved", {}, []),
        (
            "com.github.push",
            {"ref": "refs/heads/main", "commits": [1], "repository": {"default_branch": "main"}},
            NOTES,
        ),
        ("com.github.push", {"ref": "refs/heads/main", "commits": [1]}, NOTES),
        ("com.github.push", {"ref": "refs/heads/x", "commits": [1], "repository": {"default_branch": "main"}}, []),
        ("com.github.push", {"ref": "refs/heads/main", "commits": [], "repository": {"default_branch": "main"}}, []),
        ("com.github.push", {"ref": "refs/heads/main", "commits": [1], "deleted": True}, []),
        ("com.github.push", {"ref": "refs/tags/main", "commits": [1], "repository": {"default_branch": "main"}}, []),
        ("com.github.release.published", {}, NOTES),
        ("com.github.release.created", {}, []),
        ("org.example.deployment.finished", {}, NOTES),
    ],
)
def test_what_triggers_the_built_in_agents(type_: str, data: Any, expected: list[str]) -> None:
    assert _triggered(type_, data) == expected


def test_the_expressions_of_the_page_are_filters() -> None:
    page = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text()
    rows = re.findall(r"^\| (`+ ?.+?`) +\| [a-z]", page, re.MULTILINE)
    expressions = [row[2:-3].strip() if row.startswith("``") else row[1:-1].replace("\\|", "|") for row in rows]
    assert len(expressions) == 7
    for expression in expressions:
        assert compile_filter(expression)

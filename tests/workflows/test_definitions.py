"""What may be a workflow: every refusal names its place, and the protocol's own spelling is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.registry.yaml12 import Document
from headrace.workflows.check import check_shape
from headrace.workflows.drawing import mermaid, svg
from headrace.workflows.expressions import compiled
from headrace.workflows.load import InvalidWorkflow, load_value
from headrace.workflows.patching import patched, read_operations
from tests.workflows.support import known, task, workflow

A, B = task("a"), task("b")
DAILY = {"type": "schedule", "cron": "0 8 * * *"}


def refused(value: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidWorkflow) as error:
        load_value({"tag": "main", "owner": "me", "nodes": [A, B], **value}, known("other"))
    return [str(problem) for problem in error.value.problems]


def node(**fields: Any) -> dict[str, Any]:
    return {"nodes": [{"id": "x", **fields}]}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"nodes": []}, "/nodes"),
        ({"nodes": [A, A]}, "/nodes/1/id"),
        ({"nodes": [task("no space ")]}, "/nodes/0/id"),
        ({"nods": []}, "/nods"),
        ({"tag": "a/b"}, "/tag"),
        ({"edges": [{"from": "a", "to": "c"}]}, "/edges/0/to: there is no node 'c'"),
        ({"edges": [{"from": "c", "to": "a"}]}, "/edges/0/from: there is no node 'c'"),
        ({"edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]}, "/edges: the edges make a cycle"),
        ({"edges": [{"from": "a", "to": "a"}]}, "/edges: the edges make a cycle: a -> a"),
        ({"edges": [{"from": "a", "to": "b"}] * 2}, "/edges/1"),
        ({"edges": [{"from": "a", "to": "b", "condition": "x ="}]}, "/edges/0/condition: not an expression"),
        ({"edges": [{"from": "a", "to": "b", "condition": "true"}]}, "/edges/0/condition: 'true' is for the edges"),
        (node(type="agent", config={"agent": "nobody", "prompt": "x"}), "/nodes/0/config/agent: there is no agent"),
        (node(type="agent", config={"version": "9.9.9", "prompt": "x"}), "/nodes/0/config/version"),
        (node(type="agent"), "/nodes/0/config: an agent has either a prompt or an input"),
        (node(type="agent", config={"prompt": "x", "promt": "y"}), "/nodes/0/config/promt: there is no such field"),
        (node(type="agent", config={"prompt": {"$expr": "(("}}), "/nodes/0/config/prompt: not an expression"),
        (node(type="tool", config={"tool": "rm"}), "/nodes/0/config/tool: there is no tool 'rm'"),
        (node(type="tool", config={"tool": "execute_pipeline", "agent": "risk-classifier"}), "may not use the tool"),
        (node(type="task", config={}), "/nodes/0/config/action: is required"),
        (node(type="condition"), "/nodes/0/expr"),
        (node(type="condition", expr="{a: b}"), "/nodes/0/expr: not an expression"),
        (node(type="task", config={"action": "x"}, expr="a"), "/nodes/0/expr: only a condition node"),
        (node(type="workflow", config={"tag": "nowhere"}), "/nodes/0/config/tag: there is no workflow"),
        (node(type="timer", config={"seconds": 0}), "/nodes/0/config/seconds"),
        (node(type="map", config={"items": "((", "body": {"type": "task"}}), "/nodes/0/config/items"),
        (node(type="map", config={"items": "x", "body": {"type": "task"}}), "/nodes/0/config/body/config/action"),
        (node(type="task", config={"action": "x"}, compensation={"type": "tool"}), "/compensation/config/tool"),
        (
            node(type="task", config={"action": "x"}, compensation={"type": "wait"}),
            '/compensation/type: "wait" is not one',
        ),
        ({"triggers": [{"type": "schedule", "every_s": 0}]}, "/triggers/0/every_s: 0 is less than"),
        ({"triggers": [{"type": "hourly"}]}, '"hourly" is not one of "always", "schedule", "whenever"'),
        ({"triggers": [{"type": "whenever"}]}, "/triggers/0/event: a trigger of the type whenever needs it"),
        ({"triggers": [{"type": "whenever", "event": "x", "filter": "(("}]}, "/triggers/0/filter"),
        ({"triggers": [{"type": "schedule", "every_s": 5, "event": "x"}]}, "/triggers/0/event: not for a trigger"),
        (
            {"triggers": [{"type": "schedule"}]},
            "/triggers/0: a trigger of the type schedule has either every_s or cron",
        ),
        ({"triggers": [DAILY | {"every_s": 5}]}, "/triggers/0: a trigger of the type schedule has either"),
        ({"triggers": [DAILY, {"type": "schedule", "every_s": 5}]}, "/triggers: a workflow's schedules are either"),
        ({"triggers": [DAILY] * 21}, "/triggers: a workflow has at most 20 calendars, not 21"),
        ({"triggers": [DAILY | {"cron": "*/5 * * * * *"}]}, "/triggers/0/cron: a cron expression has five fields"),
        ({"triggers": [DAILY | {"cron": "0 8 * * MAN"}]}, "/triggers/0/cron: not a cron expression: bad day-of-week"),
        ({"triggers": [DAILY | {"cron": "* * */20 * 1L"}]}, "/triggers/0/cron: this is never due"),
        ({"triggers": [DAILY | {"timezone": "Europe/Bern"}]}, "/triggers/0/timezone: not a name of the IANA"),
        ({"triggers": [DAILY | {"timezone": "../etc/passwd"}]}, "/triggers/0/timezone: not a name of the IANA"),
        ({"triggers": [{"type": "schedule", "every_s": 5, "timezone": "UTC"}]}, "/triggers/0/timezone: a time zone is"),
        (
            {"triggers": [{"type": "always", "cron": "0 8 * * *"}]},
            "/triggers/0/cron: not for a trigger of the type always",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: dict[str, Any], place: str):
    problems = refused(value)
    assert any(place in problem for problem in problems), problems


def test_all_that_is_wrong_is_told_at_once():
    edges = [{"from": "a", "to": "q"}, {"from": "a", "to": "b", "condition": "(("}]
    assert len(refused({"edges": edges, "triggers": [{"type": "whenever"}]})) == 3


def test_every_kind_of_node_can_be_written():
    body = {"type": "agent", "config": {"agent": "risk-classifier", "input": {"$expr": "item"}}}
    nodes = [
        {"id": "agent", "type": "agent", "config": {"prompt": "Hi", "agent": "assistant", "version": None}},
        {"id": "tool", "type": "tool", "config": {"tool": "execute_pipeline", "arguments": {"session_id": "s"}}},
        {"id": "map", "type": "map", "config": {"items": "input.changes", "body": body}},
        {"id": "join", "type": "join"},
        {"id": "wait", "type": "wait", "timeout_s": 60, "on_error": "continue"},
        {"id": "sub", "type": "workflow", "config": {"tag": "other", "input": {"of": {"$expr": "input"}}}},
        {"id": "timer", "type": "timer", "config": {"seconds": 5}},
        {"id": "check", "type": "condition", "expr": "nodes.map.output[0].risk != 'low'"},
        task("task", compensation={"type": "task", "config": {"action": "undo"}}, retry={"max_attempts": 3}),
    ]
    definition = workflow(nodes, ("agent", "join"), ("tool", "join"), ("check", "task", "true"))
    again = load_value(definition.document(), known("other"))
    assert again == definition
    assert again.definition_hash == definition.definition_hash


@pytest.mark.parametrize(
    ("expression", "view", "value"),
    [
        ("price < 500", {"price": 499.5}, True),
        ("price < 500", {"price": 500}, False),
        ("price>=-1.5 && a[0] == 3", {"price": -1.5, "a": [3]}, True),
        ("name == 'a < 5'", {"name": "a < 5"}, True),
        ('"a < 5"', {"a < 5": 1}, 1),
        ("a[1:3]", {"a": [1, 2, 3, 4]}, [2, 3]),
        ("price < `500`", {"price": 1}, True),
    ],
)
def test_a_number_after_a_comparison_needs_no_backticks(expression: str, view: dict[str, Any], value: Any):
    assert compiled(expression).value(view) == value


def test_the_example_of_the_guide_is_one():
    text = (Path(__file__).parents[2] / "docs/examples/workflows/price-watch.yaml").read_text()
    assert load_value(Document(text).value, known()).tag == "price-watch"


def test_a_picture_holds_every_node_and_no_markup_of_the_definition():
    nodes = [task("fetch"), {"id": "check", "type": "condition", "expr": "a < 5 && b != '\"<script>'"}]
    definition = workflow(nodes, ("fetch", "check"))
    assert "n0 --> n1" in mermaid(definition)
    assert "<script" not in mermaid(definition)
    assert "<script" not in svg(definition)
    assert svg(definition).count("<rect") == 3


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["tag", "owner", "nodes", "edges", "triggers", "x"]), JSON))
def test_any_json_is_a_workflow_or_refused(value: Any):
    assert check_shape(value)


# --- patches


def patch(*operations: dict[str, Any]) -> Any:
    return patched({"tag": "main", "nodes": [A, B], "edges": []}, read_operations(list(operations)))


def test_operations_are_carried_out_in_order():
    made = patch(
        {"op": "add", "path": "/nodes/-", "value": task("c")},
        {"op": "add", "path": "/nodes/0", "value": task("z")},
        {"op": "remove", "path": "/nodes/1"},
        {"op": "replace", "path": "/nodes/1/config/action", "value": None},
        {"op": "add", "path": "/nodes/0/config/a~1b~0", "value": 1},
        {"op": "add", "path": "/description", "value": "d"},
    )
    assert [one["id"] for one in made["nodes"]] == ["z", "b", "c"]
    assert made["nodes"][1]["config"] == {"action": None}
    assert made["nodes"][0]["config"] == {"action": "z", "a/b~": 1}
    assert made["description"] == "d"
    assert A["config"] == {"action": "a"}  # what was given is not touched


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "move", "path": "/nodes/0"}, "Invalid enum value"),
        ({"op": "add", "path": "/nodes/0", "from": "/x"}, "unknown field"),
        ({"op": "add", "path": "nodes"}, "begins with /"),
        ({"op": "add", "path": "/tag", "value": "x"}, "a patch changes nodes, edges, triggers, description"),
        ({"op": "replace", "path": "/owner", "value": "x"}, "a patch changes"),
        ({"op": "add", "path": "", "value": {}}, "begins with /"),
        ({"op": "add", "path": "/nodes/9", "value": {}}, "there are 2 items"),
        ({"op": "remove", "path": "/nodes/-"}, "no place in a list"),
        ({"op": "remove", "path": "/nodes/-1"}, "no place in a list"),
        ({"op": "remove", "path": "/nodes/01"}, "no place in a list"),
        ({"op": "replace", "path": "/nodes/0/nothing", "value": 1}, "there is no 'nothing'"),
        ({"op": "add", "path": "/nodes/0/id/x", "value": 1}, "neither a list nor an object"),
        ({"op": "add", "path": "/nodes/-"}, "needs a value"),
        ({"op": "add", "path": "/nodes/0/a~2", "value": 1}, "~ is written ~0"),
    ],
)
def test_an_operation_that_cannot_be_done_is_named(operation: dict[str, Any], why: str):
    with pytest.raises(InvalidWorkflow) as error:
        patch({"op": "remove", "path": "/edges"}, operation)
    assert why in str(error.value)
    assert "/operations/1" in str(error.value)

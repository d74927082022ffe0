"""The machine, without I/O: what follows what, and that nothing follows twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.workflows.events import Asked, Finished, Signalled, Woken
from tests.workflows.support import World, task, workflow

DIAMOND = ([task("a"), task("b"), task("c"), task("d")], ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))


def test_a_chain_runs_in_order_and_ends_with_the_output_of_its_last_node():
    world = World(workflow([task("a"), task("b")], ("a", "b")))
    assert world.started() == ["a"]
    world.finish("a", {"x": 1})
    assert world.started() == ["b"]
    world.finish("b", {"y": 2})
    assert [(end.status, end.output) for end in world.ends] == [("completed", {"y": 2})]


def test_a_node_after_two_others_waits_for_both_and_starts_once():
    world = World(workflow(*DIAMOND))
    world.finish("a")
    assert world.started() == ["b", "c"]
    world.finish("c")
    assert world.started() == ["b"]
    world.finish("b")
    assert world.started() == ["d"]
    assert [begin.node for begin in world.begun].count("d") == 1


def test_a_join_of_any_goes_on_with_the_first():
    nodes = [task("a"), task("b"), {"id": "j", "type": "join", "config": {"need": "any"}}, task("d")]
    world = World(workflow(nodes, ("a", "j"), ("b", "j"), ("j", "d")))
    world.finish("b", 1)
    assert world.started() == ["a", "d"]
    world.finish("a")
    assert [begin.node for begin in world.begun].count("d") == 1


@pytest.mark.parametrize(("price", "mailed"), [(499, True), (500, False)])
def test_a_condition_decides_which_edges_are_taken(price: int, mailed: bool):
    nodes = [task("fetch"), {"id": "check", "type": "condition", "expr": "price < 500"}, task("mail"), task("log")]
    edges = (("fetch", "check"), ("check", "mail", "true"), ("check", "log", "false"))
    world = World(workflow(nodes, *edges))
    world.finish("fetch", {"price": price})
    assert world.started() == (["mail"] if mailed else ["log"])
    assert world.status("log" if mailed else "mail") == "skipped"


def test_what_only_a_skipped_node_leads_to_is_skipped_too():
    nodes = [task("a"), task("b"), task("c"), task("d")]
    world = World(workflow(nodes, ("a", "b", "output == 'no'"), ("b", "c"), ("a", "d"), ("c", "d")))
    world.finish("a", {"output": "yes"})
    assert (world.status("b"), world.status("c")) == ("skipped", "skipped")
    assert world.started() == ["d"]


def test_values_of_a_config_come_from_expressions_and_data_is_never_one():
    config = {"action": "mail", "to": {"$expr": "input.to"}, "text": {"$expr": "nodes.a.output"}}
    world = World(workflow([task("a"), {"id": "b", "type": "task", "config": config}], ("a", "b")), {"to": "ops"})
    world.finish("a", {"$expr": "input.to"})
    assert world.begun[-1].config == {"action": "mail", "to": "ops", "text": {"$expr": "input.to"}}


def test_a_map_does_its_body_for_each_item_some_at_once_and_keeps_their_order():
    body = {"type": "task", "config": {"action": "do", "what": {"$expr": "item"}, "at": {"$expr": "index"}}}
    config = {"items": "input", "body": body, "parallel": 2}
    world = World(workflow([{"id": "m", "type": "map", "config": config}, task("z")], ("m", "z")), ["x", "y", "w"])
    assert world.started() == ["m", "m"]
    second = list(world.open)[1]
    world.open = {second: world.open[second], **world.open}
    world.finish_all(lambda begin: begin.node if begin.node == "z" else begin.config)
    assert [one["what"] for one in world.state.nodes["m"].output] == ["x", "y", "w"]
    assert [one["at"] for one in world.state.nodes["m"].output] == [0, 1, 2]


def test_a_failure_is_tried_again_after_a_growing_pause_and_then_breaks_the_run():
    retry = {"max_attempts": 3, "delay_s": 2, "factor": 3}
    world = World(workflow([task("a", retry=retry)]))
    for pause in (2_000, 6_000):
        world.finish("a", error="boom")
        assert world.state.wakes_ms() == world.now_ms + pause
        world.send(Woken())
        assert world.started() == []  # too early
        world.now_ms += pause
        world.send(Woken())
        assert world.started() == ["a"]
    world.finish("a", error="boom")
    assert world.ends[0].status == "failed"
    assert world.ends[0].error.type == "boom"
    assert len({begin.work_id for begin in world.begun}) == 3


def test_an_attempt_that_takes_too_long_is_stopped_and_counts_as_failed():
    world = World(workflow([task("a", timeout_s=5, on_error="continue"), task("b")], ("a", "b")))
    late = next(iter(world.open))
    world.now_ms += 5_000
    world.send(Woken())
    assert world.stopped == [late]
    assert world.state.nodes["a"].error.type == "timeout"
    assert world.started() == ["b"]  # on_error: continue
    before = world.state
    world.send(Finished(work_id=late, output=1))
    assert world.state == before


def test_a_failed_run_undoes_what_had_completed_the_last_first():
    undo = lambda name: {"type": "task", "config": {"action": name, "of": {"$expr": "nodes.a.output"}}}  # noqa: E731
    nodes = [task("a", compensation=undo("un-a")), task("b", compensation=undo("un-b")), task("c"), task("x")]
    world = World(workflow(nodes, ("a", "b"), ("b", "c"), ("a", "x")))
    world.finish("a", 7)
    world.finish("b")
    open_x = next(id_ for id_, begin in world.open.items() if begin.node == "x")
    world.finish("c", error="boom")
    assert world.stopped == [open_x]
    assert [begin.config["action"] for begin in world.open.values()] == ["un-b"]
    world.finish("b")
    assert [(begin.config["action"], begin.config["of"]) for begin in world.open.values()] == [("un-a", 7)]
    assert not world.ends
    world.finish("a", error="cannot")  # noted, and no reason to stay
    assert (world.ends[0].status, world.state.nodes["a"].error.type) == ("failed", "cannot")


def test_pausing_starts_nothing_new_and_resuming_goes_on():
    world = World(workflow(*DIAMOND))
    world.send(Asked(what="pause"))
    world.finish("a")
    assert world.started() == []
    world.send(Asked(what="resume"))
    assert world.started() == ["b", "c"]


def test_cancelling_stops_what_is_under_way():
    world = World(workflow(*DIAMOND))
    world.finish("a")
    under_way = set(world.open)
    world.send(Asked(what="cancel"))
    assert set(world.stopped) == under_way
    assert world.ends[0].status == "cancelled"
    assert world.status("d") == "cancelled"


def test_a_wait_takes_its_signal_also_one_that_came_before_it():
    nodes = [task("a"), {"id": "w", "type": "wait", "config": {"signal": "go"}}, task("b")]
    world = World(workflow(nodes, ("a", "w"), ("w", "b")))
    world.send(Signalled(name="go", payload={"by": "me"}))
    world.send(Signalled(name="nobody waits for this"))
    world.finish("a")
    assert world.started() == ["b"]
    assert world.state.nodes["w"].output == {"by": "me"}
    assert world.state.signals == {}


def test_a_timer_ends_when_its_time_has_come():
    world = World(workflow([{"id": "t", "type": "timer", "config": {"seconds": 60}}, task("b")], ("t", "b")))
    assert world.state.wakes_ms() == 61_000
    world.now_ms = 61_000
    world.send(Woken())
    assert world.started() == ["b"]


def test_an_expression_that_fails_fails_its_node_and_quotes_no_data():
    nodes = [task("a"), {"id": "c", "type": "condition", "expr": "sum(input) > 3"}]
    world = World(workflow(nodes, ("a", "c")), "canary")
    world.finish("a")
    assert world.ends[0].error.type == "expression"
    assert "canary" not in world.ends[0].error.message


# Any graph, any order of ends, with ends that come twice.

_IDS = [f"n{number}" for number in range(6)]


@st.composite
def _graphs(draw: Any) -> Any:
    nodes: list[dict[str, Any]] = []
    for id_ in _IDS[: draw(st.integers(2, 6))]:
        if draw(st.integers(0, 3)) == 0:
            body = {"type": "task", "config": {"action": id_}}
            config = {"items": "input", "body": body, "parallel": draw(st.integers(1, 3))}
            nodes.append({"id": id_, "type": "map", "config": config})
        else:
            more: dict[str, Any] = {"compensation": {"type": "task", "config": {"action": "undo"}}}
            if draw(st.booleans()):
                more["retry"] = {"max_attempts": 2, "delay_s": 0}
            nodes.append(task(id_, **more))
    pairs = [(a, b) for number, a in enumerate(nodes) for b in nodes[number + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique_by=lambda pair: (pair[0]["id"], pair[1]["id"]), max_size=8))
    return nodes, [(a["id"], b["id"]) for a, b in chosen]


@settings(max_examples=60)
@given(_graphs(), st.lists(st.integers(0, 3), max_size=4), st.randoms(use_true_random=False), st.floats(0, 0.4))
def test_any_interleaving_ends_once_and_whatever_comes_twice_changes_nothing(graph, items, random, failing):
    nodes, edges = graph
    world = World(workflow(nodes, *edges), items)
    said: list[Finished] = []
    for _ in range(400):
        if world.ends:
            break
        if said and random.random() < 0.3:
            before = world.state
            assert world.send(random.choice(said)) == ()
            assert world.state == before
        if world.open:
            begin = world.open[random.choice(list(world.open))]
            world.open = {begin.work_id: begin, **world.open}
            said.append(world.finish(begin.node, 1, "boom" if random.random() < failing else None))
        else:
            world.now_ms = max(world.now_ms, world.state.wakes_ms() or 0)
            world.send(Woken())
    assert len(world.ends) == 1, world.state
    ids = [begin.work_id for begin in world.begun]
    assert len(ids) == len(set(ids))
    _holds(world, edges, len(items), failing == 0)


def _holds(world: World, edges: list[tuple[str, str]], items: int, calm: bool) -> None:
    order = [begin.node for begin in world.begun]
    if calm:
        assert world.ends[0].status == "completed"
        expected = {name: items if world.plan.nodes[name].type == "map" else 1 for name in world.plan.nodes}
        assert {name: order.count(name) for name in expected} == expected
        for before, after in edges:
            if before in order and after in order:
                last = len(order) - 1 - order[::-1].index(before)
                assert last < order.index(after)
    else:
        assert not world.open
        assert all(node.status not in ("pending", "running", "undoing") for node in world.state.nodes.values())

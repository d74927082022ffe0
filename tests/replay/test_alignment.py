"""Runs beside each other: a fork is told from the beginning, so what it took is one record on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.forks.edits import Edits
from headrace.forks.plan import Asked
from headrace.history.alignment import Alignment, align
from headrace.history.chain import Chain, chain_of
from headrace.messages.ids import short_hash
from tests.forks.test_forks import AGENT, parked, plan
from tests.reasoning.bench import T0, Bench, ScriptedModel, job, text_reply
from tests.replay.lives import LOW, Life, filed, live, with_tools

HIGH = text_reply('{"risk": "high"}')


async def three_turns(bench: Bench) -> Life:
    return await live(bench, job(), ["fine"])


async def forked(life: Life, bench: Bench, asked: Asked, *replies: Any) -> Life:
    again = Bench(ScriptedModel(*replies), AGENT, blobs=bench.blobs)
    return await live(again, plan(life, asked).job, ["fine"], at_ms=T0 + 100_000)


def chain(life: Life) -> Chain:
    """Each run's records at offsets of their own, as on topics."""
    base = int(short_hash(life.run_id.encode())[:6], 16)
    return chain_of(life.run_id, [filed(one, at, base + number) for number, (one, at) in enumerate(life.records)])


def summary(found: Alignment) -> tuple[int, tuple[int, str, str] | None]:
    first = found.first
    return found.shared, (first.step, first.kind, first.difference.where) if first and first.difference else None


@pytest.mark.parametrize(("at", "shared"), [(0, 0), (1, 2), (2, 4)])
async def test_a_fork_shares_records_up_to_its_step(at: int, shared: int) -> None:
    model = with_tools({"a": 1}, {"a": 2})
    replies = list(model.replies)
    bench = Bench(model, AGENT)
    life = await three_turns(bench)
    fork = await forked(life, bench, Asked(at), *replies[at:])
    found = align([chain(life)], [chain(fork), chain(life)])
    assert summary(found) == (shared, None)
    assert [(row.step, row.kind) for row in found.rows] == [
        (0, "job"),
        *[(1, "tool_calls"), (1, "tool_results"), (2, "tool_calls"), (2, "tool_results")],
        (3, "result"),
    ]
    assert (found.left.usage.model_calls, found.right.usage.model_calls) == (3, 3 - at)
    assert found.right.forked_from is not None
    assert found.left.forked_from is None
    alone = align([chain(life)], [chain(fork)])
    assert (summary(alone), len(alone.rows)) == ((0, None), 6 - shared)


async def test_what_was_edited_is_the_first_difference_and_forks_of_forks_align() -> None:
    bench = Bench(with_tools({"a": 1}, {"a": 2}), AGENT)
    life = await three_turns(bench)
    edited = Asked(1, Edits(tool_results={"call_1_1": {"rows": []}}))
    turn = with_tools({"a": 3}).replies[0]
    fork = await forked(life, bench, edited, turn, LOW)
    assert summary(align([chain(life)], [chain(fork), chain(life)])) == (2, (1, "tool_results", "/results/0/content"))
    second = await forked(fork, bench, Asked(2), HIGH)
    lineage = [chain(second), chain(fork), chain(life)]
    assert summary(align(lineage, [chain(fork), chain(life)])) == (4, (3, "result", "/output/risk"))
    assert summary(align([chain(life)], lineage)) == (2, (1, "tool_results", "/results/0/content"))


async def test_calls_that_were_made_anew_are_one_turn() -> None:
    life, bench, _ = await parked()
    one = await forked(life, bench, Asked(1), LOW)
    other = await forked(life, bench, Asked(1, replay_id="again"), HIGH)
    waiting = Life("job-1", [record for record in life.records if type(record[0]).__name__ != "RunWait"])
    found = align([chain(one), chain(waiting)], [chain(other), chain(waiting)])
    assert [(row.step, row.kind) for row in found.rows] == [
        *[(0, "job"), (1, "tool_calls"), (1, "tool_results"), (2, "result")],
    ]
    assert summary(found) == (1, (2, "result", "/output/risk"))

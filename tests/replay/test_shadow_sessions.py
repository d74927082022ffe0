"""Sessions of a replay: turns go on from the replay's own, in the order of the events, through a kill, and beside the live ones."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.blobs.settings import open_blobs
from headrace.messages.event import Event
from headrace.messages.result import SessionTurn
from headrace.messages.run import Entry, SessionState, ToolCalls, Transcript
from headrace.reasoning.transcript import Transcripts
from headrace.replay.shadow.choice import in_baseline, session_of, skipped
from headrace.replay.shadow.sessions import Place, ShadowSessions
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from tests.persistence.records import a_result, a_run
from tests.persistence.tables import dump
from tests.replay.command import CommandLine
from tests.replay.shadows import TICKETS, answer, event, history, lived, says
from tests.replay.test_shadow import killed_underway, mesh
from tests.replay.test_shadow_parts import plan
from tests.support.simulator import simulator

__all__ = ["mesh", "simulator"]

REPLAY = ("replay", "shadow", "--agent", TICKETS.name, "--model", "openai:newer", "--yes", "--session", "data.customer")


def ticket(number: int, customer: Any) -> Event:
    data = {"number": number, "title": f"ticket number {number}.", "customer": customer}
    return event(number, data=data, partition_key=f"key-{customer}")


@pytest.mark.parametrize(
    ("customer", "session"),
    [("ada", "ada"), (7, "7"), (None, None), ("", None), (True, None), ([1], None), ("x" * 257, None)],
)
def test_what_names_a_session(customer: Any, session: str | None) -> None:
    assert session_of(plan(session="data.customer"), ticket(1, customer)) == session
    assert session_of(plan(), ticket(1, customer)) is None
    assert session_of(plan(session="length(data.number)"), ticket(1, customer)) is None  # it fails on this event


def test_a_sample_has_whole_sessions() -> None:
    tickets = [ticket(number, f"c-{number % 60}") for number in range(600)]
    sampled = plan(session="data.customer", sample=0.5, baseline=0.5)
    chosen = [one for one in tickets if skipped(sampled, one) is None]
    by_customer = Counter(one.data["customer"] for one in chosen)
    assert 15 < len(by_customer) < 45
    assert set(by_customer.values()) == {10}
    again = Counter(one.data["customer"] for one in chosen if in_baseline(sampled, one))
    assert 3 < len(again) < len(by_customer)
    assert set(again.values()) == {10}


def turns_of(simulator: Simulator, title: str) -> list[str]:
    """What the conversation before the question about ``title`` was, of the newest request that asked it: titles and answers."""
    body = next(one.body for one in reversed(list(simulator.requests)) if title in str(one.body["messages"][-1]))
    messages = [one for one in body["messages"] if one["role"] != "system"]
    return [
        one["content"].rpartition('"title":"')[2].partition('"')[0] if "<event>" in one["content"] else one["content"]
        for one in messages[:-1]
    ]


def minutes_ago(minutes: int) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


async def live_turn(mesh: MeshSettings, pool: asyncpg.Pool, session: str) -> None:
    """What a live run left in the session, two hours ago."""
    transcripts = Transcripts(open_blobs(mesh, pool))
    said = (Entry(role="user", content="said before"), Entry(role="assistant", content="the live answer"))
    kept = await transcripts.close(Transcript(), said)
    await pool.execute(
        "INSERT INTO session_runs (tenant, session_id, run_id, turns, status, completed_at, head, stored, pipeline_usage) "
        "VALUES ('default', $1, 'earlier', 1, 'completed', $2, $3, $4, $5)",
        *(session, minutes_ago(120), kept.head, kept.stored, {}),
    )


async def test_turns_go_on_from_the_replays_own(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    tickets = [ticket(n, ("ada", "bob", None)[n % 3]) for n in range(9)]
    stray = ticket(20, "ada").replace(partition_key="elsewhere")
    await history(mesh, pool, [*tickets, stray], [await lived(mesh, pool, one, "low") for one in tickets])
    await live_turn(mesh, pool, "bob")
    live_sessions = await dump(pool)
    simulator.play(
        says(*({"match": {"last_user": f"number {n}."}, "reply": answer("high", f"turn {n}")} for n in range(21)))
    )
    first = json.loads((await cli(*REPLAY, "--baseline", "1", "--json", "--out", str(tmp_path))).stdout)
    assert first["account"]["complete"]
    assert first["sessions"] == {
        "sessions": 2,
        "conversations": 3,
        "turns": 7,
        "from_live": 0,
        "of_several_keys": 1,
    }
    said = turns_of(simulator, "number 6.")
    assert [text for text in said if text.startswith("ticket")] == ["ticket number 0.", "ticket number 3."]
    assert [text for text in said if "turn" in text] == [
        '{"risk":"high","why":"turn 0"}',
        '{"risk":"high","why":"turn 3"}',
    ]
    assert turns_of(simulator, "number 8.") == turns_of(simulator, "number 20.") == []
    assert await dump(pool) == live_sessions

    before = [*REPLAY, "--baseline", "0", "--from", minutes_ago(90).isoformat(), "--json", "--out", str(tmp_path)]
    begun = json.loads((await cli(*before)).stdout)
    assert begun["sessions"]["from_live"] == 1
    assert turns_of(simulator, "number 7.")[:2] == ["said before", "the live answer"]


async def test_a_turn_that_is_made_again_finds_what_it_found(pool: asyncpg.Pool, settings: MeshSettings) -> None:
    sessions = ShadowSessions(pool, plan(session="data.customer"))
    info = next(one for one, _ in a_run("run") if isinstance(one, ToolCalls)).run
    for position in (3, 8, 5, 3):
        turn = SessionTurn(found=SessionState(), left=SessionState(turns=position), pipeline_usage={})
        await sessions.keep(Place("one", "ada", "k", 0, position), a_result("run", session=turn))
    for position, turns in ((5, 3), (8, 5), (9, 8)):
        place = Place("one", "ada", "k", 0, position)
        with sessions.turn(info.run_id, place):
            found = await sessions.begin(info, "enqueue", 0)
            assert found is not None
            assert found.turns == turns
    for other in (
        ("two", "ada", "k", 0, 8),
        ("one", "bob", "k", 0, 8),
        ("one", "ada", "l", 0, 8),
        ("one", "ada", "k", 1, 8),
    ):
        with sessions.turn(info.run_id, Place(*other)):
            assert await sessions.begin(info, "enqueue", 0) == SessionState()
    assert await sessions.begin(info, "enqueue", 0) is None, "a run outside of a session"


async def test_a_killed_replay_goes_on_in_its_sessions(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    tickets = [ticket(n, ("ada", "bob", "cy")[n % 3]) for n in range(18)]
    await history(mesh, pool, tickets, [])
    rules = [{"match": {"last_user": f"number {n}."}, "reply": answer("high", f"turn {n}")} for n in range(18)]
    simulator.play(says(*rules, latency_ms=300))
    replay = (*REPLAY, "--name", "cut", "--baseline", "0", "--out", str(tmp_path))
    await killed_underway(mesh, *replay, events=18)
    simulator.play(says(*rules))
    report = json.loads((await cli("replay", "shadow", "--resume", "cut", "--out", str(tmp_path), "--json")).stdout)
    assert report["account"]["replayed"] == 18
    assert report["sessions"] == {"sessions": 3, "conversations": 3, "turns": 18, "from_live": 0, "of_several_keys": 0}
    for last in (15, 16, 17):
        expected = [text for n in range(last % 3, last, 3) for text in (f"number {n}.", f"turn {n}")]
        found = turns_of(simulator, f"number {last}.")
        assert [want in text for want, text in zip(expected, found, strict=True)] == [True] * 10

"""The index of runs, made again from the topics on real servers: whole, the same byte for byte, and nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest
from confluent_kafka import TopicPartition

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.replay.ledger import RebuildUnderway
from headrace.replay.plan import make_plan
from headrace.replay.start import AtOffsets, AtTime, Earliest, OutOfRange
from headrace.runtime import offsetmap
from headrace.runtime.cluster import Cluster
from headrace.runtime.groups import Group
from headrace.settings import MeshSettings
from tests.persistence.tables import dump
from tests.replay.mesh import (
    STAGE,
    Elsewhere,
    InThisProcess,
    Listener,
    committed,
    empty,
    filled,
    joined,
    open_transaction,
    prepared,
    rebuild,
    runs,
    set_committed,
    write,
)
from tests.runtime.kafka import produce


async def test_an_emptied_index_comes_back_byte_for_byte(settings: MeshSettings, pool: asyncpg.Pool) -> None:
    await write(settings, runs(0, 40))
    await filled(settings)
    once = await dump(pool)
    assert {name: len(rows) for name, rows in once.items()} == {
        "runs": 40,
        "run_steps": 160,
        "agent_results": 40,
        "events": 40,
        "session_runs": 40,
    }
    await pool.execute("INSERT INTO claims VALUES ('delivery:github', 'd-1', 'ingest.raw/0/1', 'x', now())")
    blobs = await pool.fetch("SELECT ref, created_at FROM blobs")
    assert blobs
    listener = Listener()
    _, survey, report = await rebuild(settings, empty=True, listener=listener)
    assert await dump(pool) == once
    assert survey.lost == {}
    assert report.ok, report
    assert [(check.table, check.before, check.held, check.after) for check in report.checks] == [
        ("runs", 40, 40, 40),
        ("run_steps", 160, 160, 160),
        ("agent_results", 40, 40, 40),
        ("events", 40, 40, 40),
        ("session_runs", 40, 40, 40),
    ]
    assert listener.texts == ["resetting offsets", "emptying the index"]
    assert (listener.paces[-1].done, listener.paces[-1].total) == (200, 200)
    assert report.deliveries == (1, 1)
    assert await pool.fetch("SELECT ref, created_at FROM blobs") == blobs


async def test_a_rebuild_over_a_full_index_changes_nothing(settings: MeshSettings, pool: asyncpg.Pool) -> None:
    """And what comes in while it runs is no difference: the ends are those of the plan."""
    await write(settings, runs(0, 20))
    await filled(settings)
    once = await dump(pool)
    plan = await asyncio.to_thread(make_plan, settings, STAGE, Earliest())
    await write(settings, runs(100, 10))
    async with prepared(settings, plan) as work:
        report = await work.run(await work.survey(), InThisProcess("persistence", settings), empty=False, timeout_s=30)
    assert report.ok, report
    assert [(check.before, check.held, check.after) for check in report.checks] == [
        (20, 20, 20),
        (80, 80, 80),
        (20, 20, 20),
        (20, 20, 20),
        (20, 20, 20),
    ]
    await filled(settings)
    now = await dump(pool)
    assert all(set(rows) <= set(now[table]) for table, rows in once.items())
    assert len(now["runs"]) == 30


async def test_from_a_time_only_what_is_not_older_is_read_again(settings: MeshSettings, pool: asyncpg.Pool) -> None:
    now = int(time.time() * 1000)
    await write(settings, runs(0, 6), at_ms=now - 3_600_000)
    await write(settings, runs(50, 4), at_ms=now - 60_000)
    await filled(settings)
    once = await dump(pool)
    plan, survey, report = await rebuild(settings, AtTime(now - 120_000))
    assert survey.census.total == 4 * 5
    assert survey.lost == {"runs": 6, "run_steps": 24, "agent_results": 6, "events": 6, "session_runs": 6}
    assert report.ok, report
    assert await dump(pool) == once
    assert plan.horizon is not None
    assert plan.horizon.retention_ms == 30 * 86_400_000
    assert {horizon.oldest_ms for horizon in plan.horizons} == {now - 3_600_000, None}, "no run has waited"

    _, _, report = await rebuild(settings, AtTime(now - 120_000), empty=True)
    assert report.ok, report  # emptied on purpose: what is older is gone, as was said
    assert [check.after for check in report.checks] == [4, 16, 4, 4, 4]


async def test_from_an_offset_the_other_partitions_stay_where_they_are(
    settings: MeshSettings, pool: asyncpg.Pool
) -> None:
    await write(settings, runs(0, 30))
    await filled(settings)
    once, before = await dump(pool), await asyncio.to_thread(committed, settings)
    where = next(where for where, (offset, _) in sorted(before.items()) if where[0] == "agent.jobs" and offset > 3)
    await pool.execute('DELETE FROM run_steps WHERE topic = $1 AND partition = $2 AND "offset" >= 2', *where)
    plan, survey, report = await rebuild(settings, AtOffsets({where: 2}))
    assert {leg.where for leg in plan.legs if survey.census.records[leg.where]} == {where}
    assert report.ok, report
    assert await dump(pool) == once


async def test_what_the_topics_do_not_hold_is_refused(settings: MeshSettings) -> None:
    await write(settings, runs(0, 30))
    plan = await asyncio.to_thread(make_plan, settings, STAGE, Earliest())
    topic, number = next(leg.where for leg in plan.legs if leg.end > 3)
    other = next(leg.where for leg in plan.legs if leg.where != (topic, number))
    gone = TopicPartition(settings.physical_topic(topic), number, 3)
    client = Cluster(settings).client
    await asyncio.to_thread(lambda: [future.result(20) for future in client.delete_records([gone]).values()])
    for start, text in (
        (AtOffsets({(topic, number): 2}), rf"{topic}:{number} has offsets 3 to \d+, not 2"),
        (AtOffsets({other: 999}), rf"{other[0]}:{other[1]} has offsets 0 to \d+, not 999"),
        (AtOffsets({("ingest.raw", 0): 0}), "reads no ingest.raw:0"),
        (AtTime(1_000), f"deleted already in {topic}:{number}: begin later"),
        (AtTime(int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)), "future"),
    ):
        with pytest.raises(OutOfRange, match=text):
            await asyncio.to_thread(make_plan, settings, STAGE, start)
    assert await asyncio.to_thread(committed, settings) == {}
    plan = await asyncio.to_thread(make_plan, settings, STAGE, Earliest())
    assert plan.starts[topic, number] == 3


async def test_a_group_in_use_is_named_and_left_alone(settings: MeshSettings, pool: asyncpg.Pool) -> None:
    await write(settings, runs(0, 5))
    await filled(settings)
    once, before = await dump(pool), await asyncio.to_thread(committed, settings)
    async with InThisProcess("persistence", settings).running():
        await asyncio.to_thread(joined, settings)
        listener = Listener()
        with pytest.raises(
            FatalError, match=r"headrace-persistence-rebuild at 127\.0\.0\.1 \(36 partitions\)"
        ) as refused:
            await rebuild(settings, empty=True, service=Elsewhere(), timeout_s=0.5, listener=listener)
        assert "nothing was reset" in str(refused.value)
        assert "headrace-persistence-rebuild" in listener.texts[0]
        with pytest.raises(FatalError, match="stop them first"):
            await asyncio.to_thread(Group(settings, STAGE.group).reset, {("agent.jobs", 0): 0})
    assert await asyncio.to_thread(committed, settings) == before
    assert await dump(pool) == once


async def test_a_member_that_comes_in_before_the_emptying_saves_the_index(
    settings: MeshSettings, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(settings, runs(0, 5))
    await filled(settings)
    once = await dump(pool)
    real = Group.reset

    def reset_then_someone_commits(group: Group, offsets: dict[tuple[str, int], int]) -> None:
        real(group, offsets)
        set_committed(settings, {("agent.jobs", 0): (1, "")})

    monkeypatch.setattr(Group, "reset", reset_then_someone_commits)
    with pytest.raises(FatalError, match=r"agent\.jobs/0 of group .*: 1 is committed, not 0"):
        await rebuild(settings, empty=True)
    assert await dump(pool) == once


class CutOff(Elsewhere):
    """The end of the rebuild's own process, between the emptying and the service's start."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        raise ConnectionAbortedError
        yield


async def test_cut_off_after_the_emptying_whoever_runs_the_service_fills_the_index(
    settings: MeshSettings, pool: asyncpg.Pool
) -> None:
    await write(settings, runs(0, 10))
    await filled(settings)
    once = await dump(pool)
    with pytest.raises(ConnectionAbortedError):
        await rebuild(settings, empty=True, service=CutOff())
    assert await dump(pool) == {name: [] for name in once}
    await filled(settings)
    assert await dump(pool) == once


async def test_an_index_that_was_lost_comes_back_whatever_the_offset_maps_say(
    settings: MeshSettings, pool: asyncpg.Pool
) -> None:
    """The maps would call records finished that are to be read again: here, nearly all."""
    await write(settings, runs(0, 40))
    await filled(settings)
    once = await dump(pool)
    whole = await asyncio.to_thread(committed, settings)
    maps = {where: (1, offsetmap.encode(1, offset + 1, [1])) for where, (offset, _) in whole.items() if offset > 1}
    await asyncio.to_thread(set_committed, settings, maps)
    await empty(pool)
    _, _, report = await rebuild(settings)
    assert report.ok, report
    assert [check.before for check in report.checks] == [0] * 5
    assert await dump(pool) == once


async def test_an_open_transaction_on_the_offsets_is_waited_for(settings: MeshSettings) -> None:
    """A member that was killed left it; its end must not come after the reset."""
    where = ("agent.jobs", 0)
    await asyncio.to_thread(set_committed, settings, {where: (0, "")})
    producer = await asyncio.to_thread(open_transaction, settings, {where: 1})
    reset = asyncio.create_task(asyncio.to_thread(Group(settings, STAGE.group).reset, {where: 0}))
    await asyncio.sleep(1.5)
    assert not reset.done()
    await asyncio.to_thread(producer.commit_transaction, 10)
    await reset
    assert (await asyncio.to_thread(committed, settings))[where] == (0, "")


REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.run_id = 'run-2' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22003'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON run_steps FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def test_records_that_are_dead_lettered_owe_no_row(settings: MeshSettings, pool: asyncpg.Pool) -> None:
    """Those that can't be read, and those that Postgres refuses: here the four records of a run."""
    await pool.execute(REFUSES)
    await write(settings, runs(0, 5))
    await asyncio.to_thread(produce, settings, "agent.jobs", [("k", b"\x00garbage"), ("k", b'{"version": "2.0"}')])
    await filled(settings)
    once = await dump(pool)
    assert len(once["runs"]) == 4
    _, survey, report = await rebuild(settings, empty=True)
    assert (survey.census.total, survey.census.undecodable, report.dead_letters) == (27, 2, 6)
    assert report.ok, report
    assert await dump(pool) == once


LOSES = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.run_id = 'run-3' AND NEW.kind = 'tool_calls' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER lose BEFORE INSERT ON run_steps FOR EACH ROW EXECUTE FUNCTION lose();
"""
DOUBLES = """
CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.uid NOT LIKE '%-again' THEN NEW.uid = NEW.uid || '-again'; INSERT INTO events SELECT NEW.* ON CONFLICT DO NOTHING; END IF;
  RETURN NULL; END $$;
CREATE TRIGGER twice AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION twice();
"""


async def test_a_row_that_is_lost_or_doubled_on_the_way_is_a_difference(
    settings: MeshSettings, pool: asyncpg.Pool
) -> None:
    await write(settings, runs(0, 5))
    await filled(settings)
    await pool.execute(LOSES + DOUBLES)
    _, _, report = await rebuild(settings, empty=True)
    assert not report.ok
    found = {check.table: (check.missing, check.unexplained) for check in report.checks if not check.ok}
    assert found == {"run_steps": (1, 0), "events": (0, 5)}
    examples = [example for check in report.checks for example in check.examples]
    assert examples[0].startswith("missing: tool.calls/")
    assert examples[1].endswith("-again")


async def test_a_service_that_nobody_starts_is_said(settings: MeshSettings) -> None:
    await write(settings, runs(0, 2))
    with pytest.raises(DependencyUnavailable, match=r"no progress for 0\.5 s; .*Is persistence running"):
        await rebuild(settings, service=Elsewhere(), timeout_s=0.5)


async def test_two_rebuilds_of_one_index_are_not_run_at_once(settings: MeshSettings) -> None:
    plan = await asyncio.to_thread(make_plan, settings, STAGE, Earliest())
    async with prepared(settings, plan):
        with pytest.raises(RebuildUnderway):
            async with prepared(settings, plan):
                pass
    async with prepared(settings, plan):
        pass

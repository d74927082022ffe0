"""Replays as rows: who may say what when, whose a job is, and what all processes of one may spend; on real Postgres."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import asyncpg
import msgspec
import pytest

from headrace.control.replays.leases import LeaseLost, Leases, Purse
from headrace.control.replays.requests import ShadowRequest, request_of
from headrace.control.replays.states import ENDED, MOVES, OPEN, Said, State, after
from headrace.control.replays.store import CantMove, NewReplay, Replays, ReplayTaken
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.run import Usage
from headrace.replay.shadow.spending import Budgeted, BudgetSpent
from tests.postgres.database import empty_pool, pool
from tests.reasoning.bench import ScriptedModel, text_reply

__all__ = ["empty_pool", "pool"]


def new(replay_id: str = "one", **changes: Any) -> NewReplay:
    values: dict[str, Any] = {
        "tenant": "default",
        "replay_id": replay_id,
        "kind": "shadow",
        "agent": "triager",
        "request": {"kind": "shadow", "agent": "triager"},
        "started_by": "key-1",
        "detached": True,
    }
    return NewReplay(**{**values, **changes})


def test_what_has_ended_goes_on_only_where_somebody_resumes_it() -> None:
    states: tuple[State, ...] = get_args(State)
    for state in states:
        for said in get_args(Said):
            then = after(state, said)
            if state in ENDED and then not in (None, state):
                assert (said, then) == ("resume", "queued")
            if said == "cancel":
                assert then == ("cancelled" if state in OPEN or state in ("planned", "cancelled") else None)
    assert {then for _, then in MOVES.values()} == set(states)  # each is reached


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"agent": ""}, "$.agent"),
        ({"sample": 0}, "$.sample"),
        ({"replay_id": "Of/this"}, "$.replay_id"),
        ({"from": "2026-11-01T08:00:00"}, "$.from"),
        ({"max_cost_usd": -1}, "$.max_cost_usd"),
        ({"unknown": 1}, "unknown"),
        ({"kind": "other"}, "$.kind"),
    ],
)
def test_what_is_no_request_is_told_with_its_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as told:
        request_of({"kind": "shadow", "agent": "triager", **change})
    assert where in str(told.value)


def test_a_request_is_the_same_after_it_was_kept() -> None:
    asked = request_of({"kind": "shadow", "agent": "a", "from": "2026-11-01T08:00:00+01:00", "confirm": True})
    assert isinstance(asked, ShadowRequest)
    kept = request_of(msgspec.json.decode(msgspec.json.encode(asked.plain())))
    assert isinstance(kept, ShadowRequest)
    assert (kept.from_, kept.confirm) == (asked.from_, False)


async def test_an_id_is_one_request_s(pool: asyncpg.Pool) -> None:
    table = Replays(pool)
    made = await table.begin(new())
    assert (made.state, made.started_by) == ("queued", "key-1")
    assert await table.begin(new(started_by="key-2")) == made
    for other in (new(request={"kind": "shadow", "agent": "other"}), new(detached=False)):
        with pytest.raises(ReplayTaken):
            await table.begin(other)
    assert (await table.begin(new(tenant="other"))).tenant == "other"


async def test_a_job_is_one_holder_s_until_its_lease_lapses(pool: asyncpg.Pool) -> None:
    table, first, second = Replays(pool), Leases(pool, "first", 0.5), Leases(pool, "second", 60.0)
    await table.begin(new("mine", detached=False))
    await table.begin(new("theirs", tenant="other"))
    assert await first.take("default", follows=False) is None
    await table.begin(new())
    job = await first.take("default", follows=False)
    assert job is not None
    assert (job.replay_id, job.holder) == ("one", "first")
    assert await second.take("default", follows=False) is None
    await first.say(job, "begin")
    await first.renew(job, {"passed": 1})
    while (taken := await second.take("default", follows=False)) is None:  # no renewal any more
        await asyncio.sleep(0.05)
    assert (taken.state, taken.progress, taken.holder) == ("running", {"passed": 1}, "second")
    assert taken.began_at is not None
    for late in (first.renew(job), first.say(job, "complete"), first.reported(job, {}, None)):
        with pytest.raises(LeaseLost):
            await late
    await first.release(job)
    assert await first.take("default", follows=False) is None  # that was not its own to release
    await second.reported(taken, {"ok": True}, "<html>")
    await second.say(taken, "complete")
    done = await table.get("default", "one")
    assert done is not None
    assert (done.state, done.holder, done.ended_at is not None) == ("completed", None, True)
    assert await table.report("default", "one") == ({"ok": True}, "<html>")


async def test_cancelled_a_job_is_nobody_s_and_resumed_it_is_queued(pool: asyncpg.Pool) -> None:
    table, leases = Replays(pool), Leases(pool, "first", 60.0)
    await table.begin(new(dry_run=True))
    job = await leases.take("default", follows=False)
    assert job is not None
    await leases.settled(job, "{}", {"cost_usd": 1.0})
    await leases.say(job, "plan")
    assert await leases.take("default", follows=False) is None
    resumed = await table.resume("default", "one")
    assert resumed is not None
    assert (resumed.state, resumed.confirmed, resumed.dry_run) == ("queued", True, False)
    job = await leases.take("default", follows=False)
    assert job is not None
    await leases.say(job, "begin")
    cancelled = await table.cancel("default", "one")
    assert cancelled == await table.cancel("default", "one")
    with pytest.raises(LeaseLost):
        await leases.renew(job)
    assert await leases.take("default", follows=False) is None
    await table.resume("default", "one")
    again = await leases.take("default", follows=False)
    assert again is not None
    await leases.say(again, "begin")
    await leases.say(again, "complete")
    for move in (table.cancel, table.resume):
        with pytest.raises(CantMove, match="completed"):
            await move("default", "one")
    assert await table.cancel("default", "none") is None


async def test_what_was_never_estimated_is_not_agreed_to(pool: asyncpg.Pool) -> None:
    table = Replays(pool)
    await table.begin(new())
    await table.cancel("default", "one")
    resumed = await table.resume("default", "one")
    assert resumed is not None
    assert not resumed.confirmed


def dollar() -> Any:
    return text_reply("{}", usage=Usage(cost_usd=1.0))


async def test_processes_of_one_replay_share_its_cap(pool: asyncpg.Pool) -> None:
    await Replays(pool).begin(new())
    one, other = [
        Budgeted(ScriptedModel(*(dollar() for _ in range(9))), 3.0, Purse(pool, "default", "one")) for _ in range(2)
    ]
    asked = 0
    for number in range(12):
        try:
            await (one, other)[number % 2].complete("openai:x", None)  # type: ignore[arg-type]
            asked += 1
        except BudgetSpent:
            pass
    assert asked == 3
    assert await Purse(pool, "default", "one").at_least(0.5) == 3.0
    assert await Purse(pool, "default", "one").at_least(7.0) == 7.0


class Away:
    """A purse that nobody can reach, until it can."""

    def __init__(self) -> None:
        self.away = False
        self.spent = 0.0

    async def add(self, usd: float) -> float:
        if self.away:
            raise DependencyUnavailable("away")
        self.spent += usd
        return self.spent

    async def at_least(self, usd: float) -> float:
        return max(self.spent, usd)


class Cuts(ScriptedModel):
    """While it answers, the purse goes away."""

    purse: Away

    async def complete(self, spec: str, request: Any) -> Any:
        self.purse.away = True
        return await super().complete(spec, request)


async def test_a_reply_that_is_paid_for_is_given_and_booked_later() -> None:
    model = Cuts(dollar(), dollar())
    model.purse = purse = Away()
    budgeted = Budgeted(model, 1.5, purse)
    await budgeted.complete("openai:x", None)  # type: ignore[arg-type]
    assert budgeted.spent_usd == 1.0
    with pytest.raises(DependencyUnavailable):
        await budgeted.complete("openai:x", None)  # type: ignore[arg-type]
    purse.away = False
    await budgeted.complete("openai:x", None)  # type: ignore[arg-type]
    assert purse.spent == 1.0
    purse.away = False
    with pytest.raises(BudgetSpent):
        await budgeted.complete("openai:x", None)  # type: ignore[arg-type]
    assert purse.spent == 2.0

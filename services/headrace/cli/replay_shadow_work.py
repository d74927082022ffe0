"""What ``headrace replay shadow`` does: a job in this process, or one that is handed to the service."""

from __future__ import annotations

import asyncio
import signal
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

from headrace.cli.output import note, print_json, stop
from headrace.cli.replay_bar import Bar
from headrace.cli.replay_evaluators import gates_hold
from headrace.cli.replay_shadow_view import show_forecast, show_report
from headrace.cli.who import who
from headrace.control.replays.leases import Leases
from headrace.control.replays.requests import ShadowRequest
from headrace.control.replays.store import NewReplay, Replay, Replays
from headrace.messages.errors import HeadraceError
from headrace.postgres.pool import open_pool
from headrace.registry.read import read_catalog
from headrace.replay.jobs.helping import helped
from headrace.replay.jobs.keep import kept
from headrace.replay.jobs.settle import definitions, resolved, settle
from headrace.replay.jobs.shadow import ShadowWork, check_cost, estimate_facts, plan_of, text_of
from headrace.replay.settings import ReplaySettings
from headrace.replay.shadow.estimate import Estimate, estimate
from headrace.replay.shadow.job import open_job
from headrace.replay.shadow.page import page
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan, check_expression
from headrace.replay.shadow.range import Forecast
from headrace.replay.shadow.report import report
from headrace.settings import MeshSettings

_LOOK_S: Final = 0.5


@dataclass(frozen=True)
class Asked:
    """How it is asked for, beside the request itself."""

    outcome: str | None
    out: Path
    dry_run: bool
    yes: bool
    json: bool
    workers: int = 1


class Work:
    """Each method says whether every event is accounted for, as far as it can be known by then."""

    def __init__(self, settings: MeshSettings, asked: Asked) -> None:
        self._settings = settings
        self._asked = asked
        self._lease_s = ReplaySettings().lease_seconds

    async def begun(self, request: ShadowRequest) -> bool:
        """A new replay, in this process."""
        replay_id = request.replay_id or new_id()
        plan = await settle(self._settings, await read_catalog(self._settings), request, replay_id)
        async with self._pool() as pool, open_job(self._settings, plan, pool) as job:
            expected = await job.forecast()
            about = await estimate(pool, plan, expected, resolved)
            self._told(plan, expected, about)
            if self._asked.dry_run:
                return True
            self._confirmed(plan, about)
            new = new_replay(self._settings, request, replay_id, detached=False)
            new = replace(new, plan=text_of(plan), estimate=estimate_facts(expected, about), confirmed=True)
            row = await Replays(pool).begin(new)
            return await self._done(pool, row, plan)

    async def detached(self, request: ShadowRequest) -> bool:
        """A new replay, for the service. What is wrong at first sight is told here."""
        definitions(await read_catalog(self._settings), request)
        check_expression("--where", request.where)
        check_expression("--session", request.session)
        async with self._pool() as pool:
            new = new_replay(self._settings, request, request.replay_id or new_id(), detached=True)
            row = await Replays(pool).begin(new)
        if self._asked.json:
            print_json(row.facts())
        else:
            note(f"replay {row.replay_id} is {row.state}: headrace replay watch {row.replay_id}")
        return True

    async def resumed(self, name: str) -> bool:
        """A replay that was begun by a command; the rest of it."""
        async with self._pool() as pool:
            table = Replays(pool)
            row = await table.get(self._settings.tenant, name)
            if row is None or row.kind != "shadow":
                raise stop(f"no shadow replay {name}", 4)
            if row.detached:
                raise stop(f"replay {name} is the service's: headrace replay resume {name}", 2)
            plan = plan_of(row)
            if plan is None:
                raise InvalidPlan(f"replay {name} was never planned")
            if row.state == "completed":
                return await self._reported(pool, row, plan)
            return await self._done(pool, await table.resume(row.tenant, name) or row, plan)

    async def _done(self, pool: asyncpg.Pool, row: Replay, plan: ShadowPlan) -> bool:
        leases = Leases(pool, f"cli-{uuid.uuid4().hex[:12]}", self._lease_s)
        held = await self._held(leases, row)
        try:
            with Bar("replaying", dollars=True) as bar:
                work = ShadowWork(self._settings, pool, leases, held, bar)
                if plan.follow:  # then they are its end, and not a break
                    for name in (signal.SIGINT, signal.SIGTERM):
                        asyncio.get_running_loop().add_signal_handler(name, work.enough.set)
                async with open_job(self._settings, plan, pool) as job:
                    expected = await job.forecast()
                    async with helped(self._settings, row.replay_id, self._asked.workers - 1, leases.lease_s):
                        facts = await kept(leases, held, bar, work.replayed(job, expected, self._asked.outcome))
            await leases.renew(held, bar.facts())
            await leases.say(held, "complete")
        finally:
            with suppress(HeadraceError):  # it lapses by itself
                await leases.release(held)
        self._write(plan, facts)
        return bool(facts["account"]["complete"]) and gates_hold(facts)

    async def _held(self, leases: Leases, row: Replay) -> Replay:
        """The job, ours. One whose process was killed is free after its lease."""
        deadline = asyncio.get_running_loop().time() + 2 * leases.lease_s
        while (held := await leases.take_one(row.tenant, row.replay_id)) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise stop(f"replay {row.replay_id} is worked on elsewhere", 1)
            await asyncio.sleep(_LOOK_S)
        return held

    async def _reported(self, pool: asyncpg.Pool, row: Replay, plan: ShadowPlan) -> bool:
        """The report of a replay that is done, read once more."""
        ended = row.ended_at or row.updated_at
        async with open_job(self._settings, plan, pool) as job:
            plan = await job.passed(int(ended.timestamp() * 1000))
            account = await job.account(plan)
        facts = report(plan, account, self._asked.outcome)
        self._write(plan, facts)
        return account.complete and gates_hold(facts)

    def _told(self, plan: ShadowPlan, expected: Forecast, about: Estimate) -> None:
        if self._asked.dry_run and self._asked.json:
            print_json({"replay": plan.replay_id, **estimate_facts(expected, about)})
        else:
            show_forecast(plan, expected, about, data=self._asked.dry_run)

    def _confirmed(self, plan: ShadowPlan, about: Estimate) -> None:
        """Ends the command where paid calls are not agreed to, or would cost more than they may."""
        check_cost(plan, about)
        if about.paid and not self._asked.yes:
            raise stop(
                f"this asks {about.paid}, about ${about.cost_usd:.4f}: say --yes to go on; nothing was asked yet", 2
            )

    def _write(self, plan: ShadowPlan, facts: dict[str, Any]) -> None:
        out = self._asked.out
        out.mkdir(parents=True, exist_ok=True)
        html, data = out / f"{plan.replay_id}.html", out / f"{plan.replay_id}.json"
        html.write_text(page(facts), encoding="utf-8")
        data.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        if self._asked.json:
            print_json(facts)
        else:
            show_report(facts)
        note(f"report: {html}, {data}")

    def _pool(self) -> Any:
        return open_pool(self._settings, min_size=1, max_size=4, service="headrace-replay")


def new_id() -> str:
    return f"replay-{uuid.uuid4().hex[:10]}"


def new_replay(settings: MeshSettings, request: ShadowRequest, replay_id: str, *, detached: bool) -> NewReplay:
    """The row of a request, as asked by whoever runs this command."""
    return NewReplay(
        tenant=settings.tenant,
        replay_id=replay_id,
        kind="shadow",
        agent=request.agent,
        request=request.plain(),
        started_by=who(),
        detached=detached,
        follows=request.follow,
        dry_run=request.dry_run,
        confirmed=request.confirm,
    )

"""The account of a replay: every record of the range, and what became of it. Read from the topics alone.

    replayed   the candidate's run has ended: with an answer, or with an error of its own
    skipped    the choice leaves the event out, by reason
    failed     it can't be read, was dead-lettered, or the replay could not answer its run (a tool miss, the budget)
    missing    none of these: the replay is not done

Nothing is taken from what the replay thinks it did.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.messages.errors import BadMessage
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolResults
from headrace.replay.shadow.choice import skipped
from headrace.replay.shadow.plan import DEAD_LETTERS, RESULTS, TOOL_RESULTS, ShadowPlan
from headrace.replay.shadow.range import UNDECODABLE, Seen, decoded, events_of, since
from headrace.replay.shadow.runs import failed_replay
from headrace.replay.shadow.sessions import SessionsAccount, place_of
from headrace.runtime import deadletter
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

DEAD: Final = "dead_lettered"


@dataclass(frozen=True, slots=True)
class Pair:
    """One replayed event: its live result (None: no run of it has one), the candidate's, and the baseline's if there is one."""

    event_uid: str
    event_type: str
    live: AgentResult | None
    shadow: AgentResult
    baseline: AgentResult | None = None


@dataclass(slots=True)
class Account:
    """``records`` in the range are ``replayed + skipped + failed + missing``; a replay that is done has none missing.

    ``judges_usd`` is part of ``spent_usd``; ``answered_live`` counts calls that tools answered now; ``evaluated`` has the facts of
    each evaluator. ``read``: bytes of the records that this process has read for it so far, by topic.
    """

    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    pairs: list[Pair] = field(default_factory=list)
    spent_usd: float = 0.0
    judges_usd: float = 0.0
    answered_live: int = 0
    sessions: SessionsAccount = field(default_factory=SessionsAccount)
    evaluated: list[dict[str, Any]] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)

    @property
    def replayed(self) -> int:
        return len(self.pairs)

    @property
    def complete(self) -> bool:
        return not self.missing and self.records == self.replayed + self.skipped.total() + self.failed.total()


@dataclass(frozen=True, slots=True)
class Results:
    """Results by event: of the live agent, of the candidate, of the baseline."""

    live: Mapping[str, AgentResult]
    shadow: Mapping[str, AgentResult]
    baseline: Mapping[str, AgentResult]


async def take_account(settings: MeshSettings, plan: ShadowPlan, wire: Wire) -> Account:
    """Reads the events of the range, the live results since its beginning, and the replay's own results and dead letters."""
    shadow, baseline = await shadow_results(settings, plan, wire)
    results = Results(await _live_results(settings, plan, wire), shadow, baseline)
    dead = await _dead_letters(settings, plan)
    account = Account(spent_usd=cost_of(shadow, baseline))
    if plan.on_miss == "live-readonly":
        account.answered_live = await _answered_live(settings, plan, wire)
    async for batch in events_of(settings, plan.ranges, wire):
        for seen in batch:
            note(account, plan, seen, results, dead=(seen.source.partition, seen.source.offset) in dead)
    return account


def note(account: Account, plan: ShadowPlan, seen: Seen, results: Results, *, dead: bool) -> None:
    """Book one record of the range."""
    account.records += 1
    event = seen.event
    if event is None:
        account.failed[UNDECODABLE] += 1
    elif reason := skipped(plan, event):
        account.skipped[reason] += 1
    elif (shadow := results.shadow.get(event.uid)) is None:
        if dead:
            account.failed[DEAD] += 1
        else:
            account.missing += 1
    elif why := failed_replay(shadow):
        account.failed[why] += 1
    else:
        live, baseline = results.live.get(event.uid), results.baseline.get(event.uid)
        if place := place_of(plan, event, seen.source, plan.replay_id):
            account.sessions.note(place, shadow)
        usable = None if baseline is None or failed_replay(baseline) else baseline
        account.pairs.append(Pair(event.uid, event.type, live, shadow, usable))


async def shadow_results(
    settings: MeshSettings, plan: ShadowPlan, wire: Wire
) -> tuple[dict[str, AgentResult], dict[str, AgentResult]]:
    """What there is of the replay so far, by event: the candidate's results and the baseline's."""
    sides: dict[str | None, dict[str, AgentResult]] = {plan.replay_id: {}, plan.baseline_id: {}}
    start = {(RESULTS, number): offset for number, offset in plan.results_from.items()}
    async with Scan(settings, [RESULTS], start=start) as scan:
        async for batch in scan:
            for record in batch:
                result = await decoded(wire, record)
                if isinstance(result, AgentResult) and (side := sides.get(result.replay_id)) is not None:
                    side[result.event_uid or ""] = _slim(result)
    return sides[plan.replay_id], sides[plan.baseline_id]


def cost_of(*sides: Mapping[str, AgentResult]) -> float:
    """US dollars of all these runs."""
    return sum(one.usage.cost_usd for side in sides for one in side.values())


async def _live_results(settings: MeshSettings, plan: ShadowPlan, wire: Wire) -> dict[str, AgentResult]:
    """By event the result of the live version, else of whichever version had run last."""
    found: dict[str, AgentResult] = {}
    start = await asyncio.to_thread(since, settings, [AgentResult.TOPIC], plan.from_ms)
    async with Scan(settings, [AgentResult.TOPIC], start=start) as scan:
        async for batch in scan:
            for record in batch:
                result = await decoded(wire, record)
                if not (isinstance(result, AgentResult) and is_live(plan, result)) or result.event_uid is None:
                    continue
                before = found.get(result.event_uid)
                if before is None or before.agent_version != plan.live.version:
                    found[result.event_uid] = _slim(result)
    return found


async def _answered_live(settings: MeshSettings, plan: ShadowPlan, wire: Wire) -> int:
    """Calls of this replay's runs that tools answered now, the baseline's too."""
    found = 0
    start = await asyncio.to_thread(since, settings, [TOOL_RESULTS], plan.from_ms)
    async with Scan(settings, [TOOL_RESULTS], start=start) as scan:
        async for batch in scan:
            for record in batch:
                answered = await decoded(wire, record)
                if isinstance(answered, ToolResults) and answered.run.replay_id in (plan.replay_id, plan.baseline_id):
                    found += sum(outcome.asked_live for outcome in answered.results)
    return found


def is_live(plan: ShadowPlan, result: AgentResult) -> bool:
    """Whether it is of the run that an event had: a fork has the event too, but somebody began it, perhaps with another input."""
    of_the_mesh = result.replay_id is None and result.forked_from is None
    return of_the_mesh and result.agent_name == plan.agent and result.tenant == plan.tenant


def _slim(result: AgentResult) -> AgentResult:
    """Without what no comparison reads: the account holds all of them in memory."""
    return result.replace(turns=(), result_preview=None, metadata=result.metadata.replace(tool_calls=()))


async def _dead_letters(settings: MeshSettings, plan: ShadowPlan) -> set[tuple[int, int]]:
    """Partition and offset of the events that this replay's group has dead-lettered."""
    places: set[tuple[int, int]] = set()
    async with Scan(settings, [DEAD_LETTERS]) as scan:
        async for batch in scan:
            for record in batch:
                headers = dict(record.headers)
                if headers.get(deadletter.GROUP) == plan.stage.group.encode():
                    places.add((_number(headers[deadletter.PARTITION]), _number(headers[deadletter.OFFSET])))
    return places


def _number(header: bytes | None) -> int:
    if header is None or not header.isdigit():
        raise BadMessage("a dead letter without its place", cause="dead_letter")
    return int(header)

"""``headrace replay horizon``"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import note, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.history.horizon import BLOBS, Horizon, Range, Reach, Standing, agents, facts, horizons, range_of, survey
from headrace.messages.errors import BadMessage
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

_NOWHERE = Target()
_DAY_MS: Final = 86_400_000


def horizon(
    *,
    agent: str | None = None,
    since: str | None = None,
    until: str | None = None,
    warn: Annotated[float, Parameter(validator=Number(gte=0))] = 3.0,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """How far back each kind of replay reaches, when retention cuts into it, and how much of each agent's runs is whole.

    With --since it also says whether all of that range is there still. Exits with 4 where no run is of --agent.

    Examples: `headrace replay horizon --warn 7`, `headrace replay horizon --agent pr-risk-reviewer --since 14d`

    Parameters
    ----------
    agent
        Only the runs of this agent.
    since
        Only runs created since then: a time, or a span before now (12h, 7d).
    until
        Only runs created before then, likewise.
    warn
        Say so on stderr where records are deleted within so many days.
    json
        Print JSON.
    """
    settings, within = target.settings(), _range(since, until)
    reaches = survey(settings)
    found, now_ms = horizons(reaches), time.time_ns() // 1_000_000
    standing = run_async(_standing(settings, found, agent, within))
    if agent is not None and not standing and within is None:
        raise stop(f"no run of an agent {agent}", 4)
    if json:
        print_json(facts(reaches, found, standing, within))
    else:
        kinds = ("kind", "finds everything since", "by", "next cut", *(("all of the range",) if within else ()))
        print_table(kinds, [_kind(one, within) for one in found])
        print()
        print_table(("topic", "kept", "oldest record", "next cut"), map(_topic, (*reaches.values(), BLOBS)))
        print()
        columns = ("agent", "runs", "oldest", "can be run again")
        print_table(columns, [_agent(one) for one in standing], empty="no ended runs")
    for one in found:
        if one.next_cut_ms is not None and one.next_cut_ms - now_ms < warn * _DAY_MS:
            days = max(0.0, (one.next_cut_ms - now_ms) / _DAY_MS)
            note(f"{one.kind}: retention deletes records that it reads in {days:.1f} days")


def _range(since: str | None, until: str | None) -> Range | None:
    try:
        return range_of(since, until, datetime.now(UTC))
    except BadMessage as error:
        raise stop(f"--{error.where}: {error}", 2) from None


async def _standing(
    settings: MeshSettings, found: Sequence[Horizon], agent: str | None, within: Range | None
) -> list[Standing]:
    async with open_pool(settings, min_size=1, max_size=1, service="headrace-replay") as pool:
        return await agents(pool, settings.tenant, found, agent, within)


def _agent(one: Standing) -> tuple[object, ...]:
    return one.agent, one.runs, _time(one.oldest_ms), one.whole


def _kind(one: Horizon, within: Range | None) -> tuple[object, ...]:
    whole = (("yes" if one.reaches(within.since) else "no"),) if within else ()
    return one.kind, _time(one.since_ms) or "the beginning", one.topic, _time(one.next_cut_ms), *whole


def _topic(reach: Reach) -> tuple[object, ...]:
    kept = "forever" if reach.retention_ms < 0 else f"{reach.retention_ms / _DAY_MS:g} days"
    return reach.topic, kept, _time(reach.oldest_ms), _time(reach.next_cut_ms)


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)

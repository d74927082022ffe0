"""``headrace replay horizon``"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import note, print_json, print_table
from headrace.cli.target import JsonFlag, Target
from headrace.replay.horizon import Horizon, Reach, horizons, survey

_NOWHERE = Target()
_DAY_MS: Final = 86_400_000


def horizon(
    *,
    warn: Annotated[float, Parameter(validator=Number(gte=0))] = 3.0,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """How far back each kind of replay reaches, and when retention cuts into it.

    Example: `headrace replay horizon --warn 7`

    Parameters
    ----------
    warn
        Say so on stderr where records are deleted within so many days.
    json
        Print JSON.
    """
    reaches = survey(target.settings())
    found, now_ms = horizons(reaches), time.time_ns() // 1_000_000
    if json:
        topics = [asdict(reach) | {"next_cut_ms": reach.next_cut_ms} for reach in reaches.values()]
        print_json({"kinds": [asdict(one) for one in found], "topics": topics})
    else:
        print_table(("kind", "finds everything since", "by", "next cut"), [_kind(one) for one in found])
        print()
        print_table(("topic", "kept", "oldest record", "next cut"), [_topic(reach) for reach in reaches.values()])
    for one in found:
        if one.next_cut_ms is not None and one.next_cut_ms - now_ms < warn * _DAY_MS:
            days = max(0.0, (one.next_cut_ms - now_ms) / _DAY_MS)
            note(f"{one.kind}: retention deletes records that it reads in {days:.1f} days")


def _kind(one: Horizon) -> tuple[object, ...]:
    return one.kind, _time(one.since_ms) or "the beginning", one.topic, _time(one.next_cut_ms)


def _topic(reach: Reach) -> tuple[object, ...]:
    kept = "forever" if reach.retention_ms < 0 else f"{reach.retention_ms / _DAY_MS:g} days"
    return reach.topic, kept, _time(reach.oldest_ms), _time(reach.next_cut_ms)


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)

"""``headrace replay list``"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import print_json, print_table
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.postgres.pool import open_pool
from headrace.replay.shadow.replays import Listed, Replays
from headrace.settings import MeshSettings

_NOWHERE = Target()


def list_(
    *,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=500))] = 50,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Shadow replays, newest first; one that is running or was cut off has no figures yet.

    Example: `headrace replay list --json`

    Parameters
    ----------
    limit
        At most so many.
    json
        Print JSON.
    """
    found = run_async(_latest(target.settings(kafka=False), limit))
    if json:
        print_json([one._asdict() for one in found])
        return
    columns = ("replay", "state", "agent", "records", "replayed", "failed", "cost $", "created")
    print_table(columns, [_row(one) for one in found], empty="no replays", whole=("replay",), spare=("created",))


async def _latest(settings: MeshSettings, limit: int) -> list[Listed]:
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        return await Replays(pool).latest(settings.tenant, limit)


def _row(one: Listed) -> tuple[object, ...]:
    if one.report is None:
        return one.replay_id, one.state, one.agent, None, None, None, None, one.created_at
    account, cost = one.report["account"], one.report["cost"]["replay_usd"]
    failed = sum(account["failed"].values())
    return one.replay_id, one.state, one.agent, account["records"], account["replayed"], failed, cost, one.created_at

"""``--detach`` of commands whose work can be a job: the replay is queued, and the service `replay` does it."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.cli.output import note, print_json, stop
from headrace.cli.target import Target, run_async
from headrace.cli.who import who
from headrace.control.replays.requests import Asked, request_of
from headrace.control.replays.store import NewReplay, Replay, Replays, ReplayTaken
from headrace.postgres.pool import open_pool


def detach(target: Target, kind: str, *, json: bool, **fields: Any) -> None:
    """Queue a replay of this kind; fields that are None are left out. Exits with 2 where they are no such request."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        request = request_of({"kind": kind, **given})
        row = run_async(_queued(target, request))
    except (msgspec.ValidationError, ReplayTaken) as error:
        raise stop(str(error), 2) from None
    if json:
        print_json(row.facts())
    else:
        note(f"replay {row.replay_id} is {row.state}: headrace replay watch {row.replay_id}")


async def _queued(target: Target, request: Asked) -> Replay:
    settings = target.settings(kafka=False)
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        return await Replays(pool).begin(NewReplay.asked(settings.tenant, request, who()))

"""``POST /v1/replays/{replay_id}:swap`` and ``:drop``: what may follow on a rebuild, as replays of their own."""

from __future__ import annotations

from typing import Final

from headrace.control.replays.requests import DropRequest, SwapRequest
from headrace.control.replays.states import ENDED
from headrace.control.replays.store import NewReplay, Replay, Replays, ReplayTaken
from headrace.gateway.problems import HttpError

_LONGEST: Final = 43  # characters of a rebuild's id in that of what follows on it


async def followed(table: Replays, made: Replay | None, kind: type[SwapRequest | DropRequest], by: str) -> Replay:
    """The replay that does it; one that failed or was cancelled is taken up again.

    Raises ``HttpError``: 404 it is no rebuild, 409 it has not ended, it was not the same as the live index, or the id is taken.
    """
    if made is None or made.kind != "rebuild" or made.request is None:
        raise HttpError(404, "unknown_replay", "no such rebuild", where="replay_id")
    await _check(table, made, kind)
    name = made.replay_id[:_LONGEST]
    request = kind(replay_id=f"{name}-{kind.__struct_config__.tag}", index=made.request["index"], confirm=True)
    try:
        row = await table.begin(NewReplay.asked(made.tenant, request, by))
    except ReplayTaken as taken:
        raise HttpError(409, "replay_exists", str(taken), where="replay_id") from None
    if row.state in ("failed", "cancelled"):
        row = await table.resume(row.tenant, row.replay_id) or row
    return row


async def _check(table: Replays, made: Replay, kind: type[SwapRequest | DropRequest]) -> None:
    if made.state not in ENDED or (kind is SwapRequest and made.state != "completed"):
        raise HttpError(409, "replay_state", f"the rebuild is {made.state}", where="replay_id")
    if kind is SwapRequest:
        report, _ = await table.report(made.tenant, made.replay_id)
        if not report or not report.get("same"):
            raise HttpError(
                409, "index_differs", "it is not the same as the live index: see the report", where="replay_id"
            )

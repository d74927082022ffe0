"""``headrace replay list``, ``show``, ``watch``, ``cancel``, ``resume``: the table of replays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import Exit, note, print_facts, print_json, print_json_line, print_line, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.control.replays.states import ENDED, State
from headrace.control.replays.store import CantMove, Replay, Replays
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

T = TypeVar("T")
_NOWHERE = Target()
_LOOK_S: Final = 0.5


def list_(
    *,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=500))] = 50,
    state: State | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Replays, newest first; one that has not ended has no figures yet.

    Example: `headrace replay list --json`

    Parameters
    ----------
    limit
        At most so many.
    state
        Only those in this state.
    json
        Print JSON.
    """
    found = _asked(target, lambda table, tenant: table.latest(tenant, limit, state))
    if json:
        print_json([row.facts() | {"report": report} for row, report in found])
        return
    columns = ("replay", "kind", "state", "agent", "done", "of", "cost $", "created")
    print_table(columns, [_line(row) for row, _ in found], empty="no replays", whole=("replay",), spare=("created",))


def show(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One replay: its state, how far it is, and with --json its report. Exits with 4 if there is no such.

    Example: `headrace replay show wording --json`

    Parameters
    ----------
    name
        Replay id.
    json
        Print JSON.
    """
    row = _found(name, _asked(target, lambda table, tenant: table.get(tenant, name)))
    if json:
        report, _ = _asked(target, lambda table, tenant: table.report(tenant, name))
        print_json(row.facts() | {"report": report})
    else:
        print_facts(_pairs(row))


def watch(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Follow a replay until it has ended, or waits for a yes. Exits with 1 if it failed or was cancelled.

    Example: `headrace replay watch wording`

    Parameters
    ----------
    name
        Replay id.
    json
        Print a line of JSON for each change.
    """
    state = run_async(_watched(target.settings(kafka=False), name, json=json))
    if state in ("failed", "cancelled"):
        raise Exit(1)


def cancel(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """End a replay: what is under way is finished, nothing new begins. `headrace replay resume` takes it up again.

    Example: `headrace replay cancel wording`

    Parameters
    ----------
    name
        Replay id.
    json
        Print JSON.
    """
    _moved(name, target, lambda table, tenant: table.cancel(tenant, name), json=json)


def resume(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Let a replay of the service go on where it was; for one that is only planned, agree to what it will cost.

    Example: `headrace replay resume wording`

    Parameters
    ----------
    name
        Replay id.
    json
        Print JSON.
    """
    _moved(name, target, lambda table, tenant: table.resume(tenant, name), json=json)


def _asked(target: Target, ask: Callable[[Replays, str], Awaitable[T]]) -> T:
    settings = target.settings(kafka=False)

    async def answered() -> T:
        async with open_pool(settings, min_size=1, max_size=1) as pool:
            return await ask(Replays(pool), settings.tenant)

    return run_async(answered())


def _moved(name: str, target: Target, move: Callable[[Replays, str], Awaitable[Replay | None]], *, json: bool) -> None:
    try:
        row = _found(name, _asked(target, move))
    except CantMove as error:
        raise stop(str(error), 2) from None
    if json:
        print_json(row.facts())
    else:
        note(f"replay {name} is {row.state}")


async def _watched(settings: MeshSettings, name: str, *, json: bool) -> State:
    said: object = None
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        while True:
            row = _found(name, await Replays(pool).get(settings.tenant, name))
            if (now := (row.state, row.progress)) != said:
                said = now
                print_json_line(row.facts()) if json else print_line(_said(row))
            if row.state in ENDED or row.state == "planned":
                return row.state
            await asyncio.sleep(_LOOK_S)


def _found(name: str, row: Replay | None) -> Replay:
    if row is None:
        raise stop(f"no replay {name}", 4)
    return row


def _said(row: Replay) -> str:
    """A line on how it is."""
    if row.state == "planned":
        about = row.estimate or {}
        runs = f", {about['runs']:,} runs" if "runs" in about else ""
        cost = f", about ${about['cost_usd']:.4f} for {about['paid']}" if about.get("paid") else ""
        return f"planned{runs}{cost}: headrace replay resume {row.replay_id} begins it"
    told = row.progress
    if row.state != "running" or told is None:
        return f"{row.state}: {row.error}" if row.error else row.state
    if row.follows:
        return f"{told['phase']}: {told['passed']:,} passed, {told['total'] - told['passed']:,} behind, ${row.spent_usd:.4f}"
    left = f", {told['eta_s']:,.0f} s left" if told["eta_s"] is not None else ""
    return f"{told['phase']} {told['passed']:,} of {told['total']:,}, {told['rate']:,.1f}/s, ${row.spent_usd:.4f}{left}"


def _pairs(row: Replay) -> list[tuple[str, object]]:
    """Facts that are there, an object's fields each by itself."""
    pairs: list[tuple[str, object]] = []
    for name, value in row.facts().items():
        if isinstance(value, dict):
            pairs += [(f"{name} {part}", found) for part, found in value.items()]
        elif value is not None:
            pairs.append((name.replace("_", " "), value))
    return pairs


def _line(row: Replay) -> tuple[Any, ...]:
    told = row.progress or {}
    done = told.get("passed"), told.get("total")
    return row.replay_id, row.kind, row.state, row.agent_name or "(all)", *done, row.spent_usd, row.created_at

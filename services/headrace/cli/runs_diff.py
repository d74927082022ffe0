"""``headrace runs diff``"""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.cli.output import Exit, print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.replay.alignment import Alignment, Row, Side, Who, align
from headrace.replay.chain import BrokenChain, Chain
from headrace.replay.history import History, open_history
from headrace.replay.shadowed import shadow_chain
from headrace.settings import MeshSettings

_NOWHERE = Target()


def diff(left: str, right: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Two runs side by side, step by step: where they first differ, and what each cost.

    Either may be a run of a shadow replay. Ids, times and token counts are no difference. Exits with 5 if the runs differ, with 4
    if one is not there.

    Example: `headrace runs diff 3f0c… 9ab1…`

    Parameters
    ----------
    left
        Run id (the job id).
    right
        The run that it is compared with.
    json
        Print JSON.
    """
    found = run_async(_aligned(target.settings(), left, right))
    if json:
        print_json(_facts(left, right, found))
    else:
        _show(left, right, found)
    if found.first:
        raise Exit(5)


async def _aligned(settings: MeshSettings, left: str, right: str) -> Alignment:
    async with open_history(settings) as history:
        chains = [await _chain(settings, history, run) for run in (left, right)]
    return await asyncio.to_thread(align, *chains)


async def _chain(settings: MeshSettings, history: History, run: str) -> Chain:
    try:
        if not await history.knows(run):
            return await shadow_chain(settings, history, run)
        page = await history.page_of([run])
        if broken := page.broken.get(run):
            raise BrokenChain(broken)
        return page.chains[0]
    except BrokenChain as error:
        raise stop(f"run {run}: {error}", 4) from None


def _show(left: str, right: str, found: Alignment) -> None:
    rows = [(row.step, row.kind, _place(row.left), _place(row.right), _said(row)) for row in found.rows]
    print_table(
        ("step", "record", "left", "right", "difference"), rows, whole=("step", "record"), spare=("left", "right")
    )
    print()
    if (first := found.first) and first.difference:
        print_facts(
            [
                ("first difference", f"step {first.step}, {first.kind}, at {first.difference.where}"),
                ("left", first.difference.left),
                ("right", first.difference.right),
            ]
        )
    else:
        print("the runs say and do the same")
    print_table(
        ("run", "agent", "model", "model calls", "input tokens", "output tokens", "cost $"),
        [_cost(run, who) for run, who in ((left, found.left), (right, found.right))],
        whole=("run",),
        spare=("model", "agent"),
    )


def _cost(run: str, who: Who) -> tuple[object, ...]:
    usage = who.usage
    return run, who.agent, who.model, usage.model_calls, usage.input_tokens, usage.output_tokens, usage.cost_usd


def _place(side: Side | None) -> str:
    return side.place if side else "-"


def _said(row: Row) -> str:
    return row.difference.where if row.difference else ""


def _facts(left: str, right: str, found: Alignment) -> dict[str, Any]:
    return {
        "left": _run(left, found.left),
        "right": _run(right, found.right),
        "same": found.first is None,
        "first": None if found.first is None else _row(found.first),
        "rows": [_row(row) for row in found.rows],
    }


def _run(run: str, who: Who) -> dict[str, Any]:
    return {"run_id": run} | who._asdict() | {"usage": who.usage.plain()}


def _row(row: Row) -> dict[str, Any]:
    return {
        "step": row.step,
        "kind": row.kind,
        "left": row.left.place if row.left else None,
        "right": row.right.place if row.right else None,
        "difference": row.difference._asdict() if row.difference else None,
    }

"""``headrace runs diff``"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from headrace.cli.output import Exit, print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.history.alignment import Alignment, Row
from headrace.history.chain import BrokenChain
from headrace.history.comparison import Child, Compared, compare
from headrace.history.facts import facts
from headrace.history.stored import open_history
from headrace.history.telling import Side
from headrace.messages.run import Usage
from headrace.replay.shadowed import shadow_chain
from headrace.settings import MeshSettings

_NOWHERE = Target()


def diff(left: str, right: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Two runs side by side, step by step: where they first differ, and what each cost.

    A fork is compared with what it took from the other run's records, and sub-agents' runs call by call. Either may be a run of
    a shadow replay. Ids, times and token counts are no difference. Exits with 5 if the runs differ, with 4 if one is not there.

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
    found = run_async(_compared(target.settings(), left, right))
    if json:
        print_json(facts(found))
    else:
        _show(found)
    if not found.same:
        raise Exit(5)


async def _compared(settings: MeshSettings, left: str, right: str) -> Compared:
    async with open_history(settings) as history:
        try:
            return await compare(history, left, right, partial(shadow_chain, settings, history))
        except BrokenChain as error:
            raise stop(str(error), 4) from None


def _show(found: Compared) -> None:
    aligned = found.aligned
    for line in _origins(found):
        print(line)
    rows = [
        (row.step, row.kind, _place(row.left), _place(row.right), _said(row)) for row in aligned.rows[aligned.shared :]
    ]
    if rows:
        columns = ("step", "record", "left", "right", "difference")
        print_table(columns, rows, whole=("step", "record"), spare=("left", "right"))
        print()
    _show_first(aligned)
    for child in found.children:
        print(
            f"step {child.step}, {child.call_id}: sub-agents {child.left or '-'} and {child.right or '-'} {_verdict(child)}"
        )
    print_table(
        ("run", "agent", "model", "model calls", "input tokens", "output tokens", "cost $"),
        [*_costs(found)],
        whole=("run",),
        spare=("model", "agent"),
    )


def _origins(found: Compared) -> Iterator[str]:
    """Which side is a fork, and up to where both have the same records."""
    aligned = found.aligned
    for run, who in ((found.left, aligned.left), (found.right, aligned.right)):
        if origin := who.forked_from:
            edited = f" ({', '.join(origin.edited)} edited)" if origin.edited else ""
            yield f"{run} is a fork of {origin.run_id} at step {origin.step}{edited}"
    if aligned.shared:
        last = aligned.rows[aligned.shared - 1]
        yield f"the same records up to step {last.step}, {last.kind}"


def _show_first(aligned: Alignment) -> None:
    if (first := aligned.first) and first.difference:
        print_facts(
            [
                ("first difference", f"step {first.step}, {first.kind}, at {first.difference.where}"),
                ("left", first.difference.left),
                ("right", first.difference.right),
            ]
        )
    else:
        print("the runs say and do the same")


def _verdict(child: Child) -> str:
    if child.compared is None:
        return "can't be compared: one side has no run, or no records of it"
    if child.compared.same:
        return "say and do the same"
    first = child.compared.aligned.first
    return f"differ from step {first.step}, {first.kind} on" if first else "differ in their own sub-agents"


def _costs(found: Compared) -> Iterator[tuple[object, ...]]:
    for run, who in ((found.left, found.aligned.left), (found.right, found.aligned.right)):
        yield run, who.agent, who.model, *_used(who.usage)
    if found.children:
        for run, usage in zip((found.left, found.right), found.usage, strict=True):
            yield f"{run}, with sub-agents", "", "", *_used(usage)


def _used(usage: Usage) -> tuple[object, ...]:
    return usage.model_calls, usage.input_tokens, usage.output_tokens, usage.cost_usd


def _place(side: Side | None) -> str:
    return side.place if side else "-"


def _said(row: Row) -> str:
    return row.difference.where if row.difference else ""

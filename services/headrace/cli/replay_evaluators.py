"""Evaluators of ``headrace replay shadow``: from the command line to the plan, from the report to terminal and exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.cli.output import note, print_table, stop
from headrace.replay.evaluators.definitions import Evaluator
from headrace.replay.evaluators.load import InvalidEvaluators, load_evaluators, with_gates


def evaluators_of(file: Path | None, fail_under: Sequence[str]) -> tuple[Evaluator, ...]:
    """Those of ``file`` with these gates (``NAME=SHARE``). Ends the command where one of both is wrong."""
    try:
        return with_gates(load_evaluators(file) if file else (), dict(map(_gate, fail_under)))
    except (InvalidEvaluators, OSError) as error:
        raise stop(str(error), 2) from None


def show_evaluators(evaluated: Sequence[dict[str, Any]]) -> None:
    if not evaluated:
        return
    print()
    columns = ("evaluator", "candidate passes", "live", "baseline", "against live", "p", "untold")
    print_table(columns, [_row(one) for one in evaluated])


def gates_hold(facts: dict[str, Any]) -> bool:
    """Whether every gate of the report holds; those that don't are named on stderr."""
    broken = [one for one in facts["evaluators"] if one["gate"] and not one["gate"]["passed"]]
    for one in broken:
        gate, passed = one["gate"], one["candidate"]["pass"]
        note(f"evaluator {one['name']}: {passed:,} of {gate['n']:,} pass, and {gate['at_least']:.1%} have to")
    return not broken


def _gate(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    try:
        least = float(share)
    except ValueError:
        least = -1.0
    if not name or not 0 <= least <= 1:
        raise stop(f"--fail-under {text[:80]}: say NAME=SHARE, such as same-risk=0.95", 2)
    return name, least


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    against = one["against_live"]
    candidate = one["candidate"]
    return (
        one["name"],
        _share(candidate),
        _share(one["live"]),
        _share(one["baseline"]),
        f"{against['difference']['value']:+.1%} (+{against['gained']}, -{against['lost']})" if against else "-",
        f"{against['p']:.3g}" if against else "-",
        str(candidate["unparsable"] + candidate["not_judged"] or "-"),
    )


def _share(side: dict[str, Any]) -> str:
    share = side["share"]
    return f"{share['value']:.1%} of {share['n']:,} ({share['low']:.1%} to {share['high']:.1%})" if share else "-"

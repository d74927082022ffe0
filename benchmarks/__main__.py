"""headrace beside what one would pick instead: ``python -m benchmarks``, or ``make bench ARGS="..."``.

Every figure goes to benchmarks/results.json after each run, so that an interrupted benchmark loses nothing, and from there into
docs/performance.md. Peers get environments of their own below ~/.cache/headrace/bench on first use; those that can't run here are
skipped with the reason.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.catalog import SETTINGS, VARIANTS, YARDSTICK, Choice
from benchmarks.harness.parts import PARTS, Options
from benchmarks.harness.progress import Progress
from benchmarks.harness.session import Session
from benchmarks.harness.store import RESULTS, Results, commit

from benchmarks import report


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    if given.list:
        _list()
        return
    try:
        choice = Choice(_names(given.only), _names(given.skip))
        choice.variants(yardstick=True)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    options = Options(
        choice=choice,
        settings=[SETTINGS[name] for name in given.settings],
        rounds=given.rounds or (1 if given.quick else 3),
        kills=given.kills or (1 if given.quick else 5),
        quick=given.quick,
        seed=given.seed,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # in order: nothing is left behind
    commit()  # what is checked out now, whatever happens to the checkout meanwhile
    results, progress = Results(given.results), Progress()
    with Session.opened(given.lock) as session:
        for name in given.parts:
            PARTS[name](session, options, results, progress)
    print(report.as_text(results.content))
    if given.results == RESULTS and not given.quick:
        report.write(results.content)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--list", action="store_true", help="show who and what can be measured, and end")
    add(
        "--quick",
        action="store_true",
        help="a tenth of the work, one round: minutes, to see that all runs; not for the page",
    )
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    add(
        "--settings",
        nargs="+",
        choices=list(SETTINGS),
        default=list(SETTINGS),
        help="of the part `peers`; default: all",
    )
    add("--only", default="", help="these systems or variants alone, joined by commas (the yardstick runs in any case)")
    add("--skip", default="", help="all of the standing set but these")
    add("--rounds", type=int, help="alternating rounds of each setting (3)")
    add("--kills", type=int, help="kills of each worker (5)")
    add("--seed", type=int, default=1, help="of the moments of the kills")
    add("--lock", type=Path, help="hold this file's lock during each run, where other work shares the machine")
    add("--results", type=Path, default=RESULTS, help=f"default: {RESULTS.name}")
    return parser


def _names(given: str) -> frozenset[str]:
    return frozenset(filter(None, given.split(",")))


def _list() -> None:
    print("parts:    " + ", ".join(PARTS))
    print("settings: " + "; ".join(f"{one.name} ({one.title})" for one in SETTINGS.values()))
    print(f"\n{'variant':<22} {'of':<12} {'':<9} title")
    for one in VARIANTS.values():
        kind = "yardstick" if one.name == YARDSTICK else "" if one.standing else "on demand"
        print(f"{one.name:<22} {one.folder:<12} {kind:<9} {one.title}")


if __name__ == "__main__":
    main()

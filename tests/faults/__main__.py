"""``python -m tests.faults``: the fault matrix, by hand or as ``make faults``.

Starts three brokers with a proxy before each, a registry and a database, runs the cells one after the other, prints each with its
seed, what was injected and the verdict, and keeps every outcome in tests/faults/results.json, from which docs/reliability.md takes
its tables. Ends with 1 if an invariant was broken.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from tests.faults import report
from tests.faults.matrix import MATRIX, Outcome, run
from tests.faults.servers import Servers, servers


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if options.list:
        for entry in MATRIX.values():
            print(f"{entry.name:24} {entry.what}")
        return 0
    names = options.cells.split(",") if options.cells else list(MATRIX)
    if unknown := [name for name in names if name not in MATRIX]:
        print(f"no such cell: {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    with servers() as given:
        print(f"three brokers at {given.ground.endpoints.kafka_bootstrap_servers}, behind proxies", flush=True)
        outcomes = [_one(given, name, number, len(names), options) for number, name in enumerate(names, 1)]
    broken = [name for name, outcome in zip(names, outcomes, strict=True) if outcome is None or not outcome.holds]
    print(f"{len(names) - len(broken)} of {len(names)} cells hold" + (f"; not: {', '.join(broken)}" if broken else ""))
    return 1 if broken else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--cells", help="names, by commas; without it all")
    parser.add_argument("--list", action="store_true", help="the cells, and nothing else")
    parser.add_argument("--form", choices=("short", "long"), default="long")
    parser.add_argument("--protocol", choices=("consumer", "classic"), default="consumer", help="of the groups")
    parser.add_argument("--seed", type=int, help="the one that a cell printed; without it each cell draws its own")
    parser.add_argument(
        "--no-store", action="store_true", help="leave results.json and docs/reliability.md as they are"
    )
    return parser.parse_args(arguments)


def _one(given: Servers, name: str, number: int, count: int, options: argparse.Namespace) -> Outcome | None:
    print(f"[{number}/{count}] {time.strftime('%H:%M:%S')} {name}: {MATRIX[name].what}", flush=True)
    try:
        outcome = run(name, given, form=options.form, protocol=options.protocol, seed=options.seed)
    except Exception:
        traceback.print_exc()
        given.ground.restore()
        return None
    print(report.told(outcome), flush=True)
    if not options.no_store:
        report.store(outcome)
    return outcome


if __name__ == "__main__":
    sys.exit(main())

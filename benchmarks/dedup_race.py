"""Copies of deliveries race through two ingest processes, one killed on the way: is each id one event?

    python -m benchmarks.dedup_race [--ids 1000] [--copies 64]

All copies of an id are written at once, over all partitions, so that they meet in both replicas; then all again while one of
them is killed; then with another body under each id, which must be a second event, flagged. Fails if an id has more or less.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.edges_mesh import prepared
from tests.ingest.replicas import race, replicas

from headrace.local.stack import Stack


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ids", type=int, default=1_000)
    arguments.add_argument("--copies", type=int, default=64)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data:
        stack = Stack(Path(data))
        try:
            with prepared(stack.start()) as mesh, replicas(mesh) as pair:
                seconds = race(pair, mesh.settings, options.ids, options.copies)
        finally:
            stack.stop()
    records = 2 * options.ids * options.copies
    print(
        f"{options.ids} ids, {options.copies} copies of each at once, twice, over two replicas, one killed: {records} records"
    )
    print(f"in {seconds:.1f} s; one event for each id, and a second one, flagged, for each other body")


if __name__ == "__main__":
    main()

"""What opening and normalising one delivery costs, in CPU microseconds: GitHub pull requests of 2 KB, without Kafka and claims.

python -m benchmarks.normalise
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

from benchmarks.edges_load import body_of
from tests.ingest.records import at, github

from headrace.ingest.normalise.delivery import to_event
from headrace.ingest.normalise.dispatch import normalise
from headrace.ingest.normalise.forms import open_delivery
from headrace.messages.json_check import check

DELIVERIES, ROUNDS = 2_000, 40


def main() -> None:
    records = [(github("pull_request", body_of(n, 1_000), delivery_id=f"b-{n}"), at(n)) for n in range(DELIVERIES)]
    opened = [open_delivery(record, context, "default") for record, context in records]
    drafts = [normalise(delivery)[0] for delivery in opened]
    parts: dict[str, Callable[[], object]] = {
        "open": lambda: [open_delivery(record, context, "default") for record, context in records],
        "read the JSON, strictly": lambda: [check(record.body) for record, _ in records],
        "normalise, with reading": lambda: [normalise(delivery) for delivery in opened],
        "make the event": lambda: [
            to_event(draft, delivery, 0) for draft, delivery in zip(drafts, opened, strict=True)
        ],
    }
    for name, part in parts.items():
        best = min(timeit.repeat(part, number=1, repeat=ROUNDS, timer=time.process_time))
        print(f"{name:<26} {best / DELIVERIES * 1e6:6.2f}")


if __name__ == "__main__":
    main()

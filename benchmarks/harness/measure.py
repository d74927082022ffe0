"""One measured run: a worker and a client on warm servers, and what they took."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from benchmarks.harness.catalog import Setting, Variant
from benchmarks.harness.figures import Outcome, Seen, outcome
from benchmarks.harness.processes import cpu_s, machine_cpu_s, peak_rss_mb
from benchmarks.harness.session import Bench, Session, Shape

_SETTLE_S = 0.5  # between the warm-up and the clock


@dataclass(frozen=True)
class Costs:
    """CPU seconds for 1,000 finished invocations, by whose they are; ``other_cpu_s`` is what anything else on the machine took."""

    worker_cpu_s_per_1000: float
    servers_cpu_s_per_1000: float
    client_cpu_s_per_1000: float
    other_cpu_s: float
    peak_rss_mb: float


def measure(session: Session, variant: Variant, setting: Setting, shape: Shape | None = None) -> dict[str, object]:
    """The figures of one run. Raises ``Unavailable``, or ``NotReady`` for a process that failed."""
    with session.alone(), session.bench(variant, setting, shape or Shape()) as bench, ExitStack() as exits:
        workers = [exits.enter_context(bench.worker(slot)) for slot in range(bench.workers)]
        client = exits.enter_context(bench.client())
        time.sleep(_SETTLE_S)
        pids = {"worker": [one.pid for one in workers], "servers": bench.server_pids, "client": [client.pid]}
        before, machine = {who: cpu_s(of) for who, of in pids.items()}, machine_cpu_s()
        client.say("GO")
        client.wait_for("REPORT", bench.spec.patience_s + bench.spec.linger_s + 30)
        took, machine = {who: cpu_s(of) - before[who] for who, of in pids.items()}, machine_cpu_s() - machine
        found = seen(bench)
        ended = outcome(found, paced=bool(bench.spec.per_second))
        rss = peak_rss_mb(pids["worker"])
    costs = _costs(took, machine, ended, rss)
    return {"count": bench.spec.count, **asdict(ended), **asdict(costs), "errors": list(found.errors[:3])}


def seen(bench: Bench) -> Seen:
    return Seen.read(orjson.loads(Path(bench.spec.report).read_bytes()))


def _costs(took: dict[str, float], machine: float, ended: Outcome, rss: float) -> Costs:
    thousands = max(ended.finished, 1) / 1000
    return Costs(
        took["worker"] / thousands,
        took["servers"] / thousands,
        took["client"] / thousands,
        max(0.0, machine - sum(took.values())),
        rss,
    )

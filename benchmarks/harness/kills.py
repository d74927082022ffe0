"""kill -9 of the worker under load, at random moments, and what comes of it.

20 invocations a second, calls of 100 ms (model) and 50 ms (tool): about five are open at any moment. The worker is killed and
started again at once, again and again, with 20 to 25 seconds between; then everything still open has 40 seconds to come.
A model call counts when it starts. The seed is printed and kept.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.catalog import Setting, Variant
from benchmarks.harness.figures import back_after, count_calls
from benchmarks.harness.measure import seen
from benchmarks.harness.processes import Child
from benchmarks.harness.session import READY_S, Session, Shape

SETTING = Setting("kills", "kill -9 of the worker under load", 0.1, 0.05, 500)
_FIRST_S, _BETWEEN_S = (8.0, 12.0), (20.0, 25.0)  # a session of 10 s, and then two of the 5 s between automatic commits
_AFTER_S = 13.0  # load after the last restart
_PATIENCE_S = 40.0  # with the load after the last restart longer than any session here, Kafka's 45 s included


def moments(kills: int, seed: int) -> list[float]:
    """Seconds after the start of the load, and then after each restart."""
    rng = random.Random(seed)
    return [rng.uniform(*_FIRST_S), *(rng.uniform(*_BETWEEN_S) for _ in range(kills - 1))][:kills]


def with_kills(session: Session, variant: Variant, kills: int, seed: int) -> dict[str, Any]:
    """Raises ``Unavailable`` or ``NotReady``."""
    waits = moments(kills, seed)
    load_s = sum(waits) + _AFTER_S
    count = int(load_s * variant.kill_per_second)
    calls = session.logs / f"calls-{variant.name}-{seed}"
    calls.unlink(missing_ok=True)
    shape = Shape(
        count=count,
        per_second=variant.kill_per_second,
        patience_s=load_s + _PATIENCE_S,
        linger_s=1.0,
        calls=calls,
    )
    with session.bench(variant, SETTING, shape) as bench:
        worker = bench.start_worker()
        killed: list[float] = []
        restarted: list[float] = []
        try:
            worker.wait_for("READY", READY_S)
            with bench.client() as client:
                client.say("GO")
                for wait in waits:
                    time.sleep(wait)
                    killed.append(time.time())
                    worker.kill()
                    worker.stop()
                    restarted.append(time.time())
                    worker = bench.start_worker()
                _drain(worker)
                client.wait_for("REPORT", load_s + _PATIENCE_S + 60)
        finally:
            worker.stop()
        found = seen(bench)
        run = bench.spec.run
    firsts = found.firsts()
    log = [line for line in _lines(calls) if not line.split(" ", 2)[1].startswith(f"{run}--")]  # not of the warm-up
    made = count_calls(log)
    return {
        "variant": variant.name,
        "title": variant.title,
        "per_second": variant.kill_per_second,
        "seed": seed,
        "kills": kills,
        "submitted": len(found.sent),
        "finished": len(firsts),
        "lost": len(found.sent.keys() - firsts.keys()),
        "doubled": len(found.arrived) - len(firsts),
        "wrong": found.wrong,
        "calls_started": made.started,
        "finished_calls_again": made.finished_again,
        "in_flight_calls_again": made.in_flight_again,
        "back_s": back_after(killed, restarted, found.arrived),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _drain(worker: Child) -> None:
    """Its READY, so that its output does not fill the pipe."""
    worker.wait_for("READY", READY_S)

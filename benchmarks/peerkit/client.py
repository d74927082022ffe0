"""The client's side of a run: submit, see every result, write down when. Standard library only.

The client warms the system up until ``spec.warm`` results are back, says READY, waits for a line on its standard input, and begins.
What it saw goes into ``spec.report``; all arithmetic is the harness's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peerkit.work import Json, Spec, ready

_CHUNK = 200  # invocations submitted between two looks at the results
_WARM_S = 90.0


class Port(Protocol):
    """A system that takes invocations in one place and gives results in another."""

    def submit(self, numbers: Sequence[int]) -> None:
        """Queue these invocations."""

    def arrived(self, timeout_s: float) -> list[tuple[int, float]]:
        """Number and moment (epoch seconds) of each result that is there, after at most ``timeout_s``."""

    def flush(self) -> None:
        """Return when everything submitted is with the server."""

    def verify(self) -> int:
        """How many of the results seen are wrong; called off the clock."""


@dataclass
class Report:
    sent: dict[int, float] = field(default_factory=dict)
    arrived: list[tuple[int, float]] = field(default_factory=list)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)

    def write(self, spec: Spec) -> None:
        text = {
            "sent": list(self.sent.items()),
            **{name: getattr(self, name) for name in ("arrived", "wrong", "errors")},
        }
        Path(spec.report).write_text(json.dumps(text))
        print("REPORT", flush=True)


def go() -> None:
    ready()
    sys.stdin.readline()


def drive(port: Port, spec: Spec) -> None:
    """A queue and its results: all at once, or paced, without ever waiting for one before the next."""
    _warm(port, spec)
    go()
    report, seen, number, begun = Report(), set[int](), 0, time.time()
    while len(seen) < spec.count and time.time() < begun + spec.patience_s:
        due = _due(spec, begun, number)
        if due:
            now = time.time()
            for one in due:
                report.sent[one] = begun + one / spec.per_second if spec.per_second else now
            port.submit(due)
            number = due[-1] + 1
        note(report, seen, port.arrived(_patience(spec, begun, number)))
    end = time.time() + spec.linger_s
    while time.time() < end:
        note(report, seen, port.arrived(0.1))
    report.wrong = port.verify()
    report.write(spec)


def note(report: Report, seen: set[int], found: list[tuple[int, float]]) -> None:
    for one, at in found:
        if one >= 0:  # results of the warm-up may come twice as well
            seen.add(one)
            report.arrived.append((one, at))


def _due(spec: Spec, begun: float, number: int) -> range:
    if not spec.per_second:
        return range(number, min(spec.count, number + _CHUNK))
    by_now = int((time.time() - begun) * spec.per_second) + 1
    return range(number, min(spec.count, by_now))


def _patience(spec: Spec, begun: float, number: int) -> float:
    """How long to wait for results before there is something to submit."""
    if number >= spec.count:
        return 0.05
    if not spec.per_second:
        return 0.0
    return max(0.0, begun + number / spec.per_second - time.time())


def _warm(port: Port, spec: Spec) -> None:
    port.submit(range(-spec.warm, 0))
    port.flush()
    waiting, end = set(range(-spec.warm, 0)), time.time() + _WARM_S
    while waiting:
        if time.time() > end:
            raise SystemExit(f"the warm-up is not through: {len(waiting)} of {spec.warm} are missing")
        waiting -= {number for number, _ in port.arrived(0.2)}


Call = Callable[[int, Json], Awaitable[Any]]  # the answer, once it is durable


async def drive_calls(call: Call, spec: Spec, open_at_once: int) -> None:
    """A system whose client waits for each answer: up to ``open_at_once`` calls, or paced."""
    report, slots = Report(), asyncio.Semaphore(open_at_once)

    async def one(number: int, sent: float) -> None:
        try:
            found = await call(number, spec.invocation(number))
            if number >= 0:
                report.sent[number] = sent
                report.arrived.append((number, time.time()))
                report.wrong += not spec.is_right(found, number)
        except Exception as error:
            report.sent[number] = sent
            report.errors.append(repr(error)[:200])
        finally:
            slots.release()

    async def all_of(numbers: range) -> None:
        tasks, begun = set[asyncio.Task[None]](), time.time()
        for number in numbers:
            if paced := spec.per_second and number >= 0:
                await asyncio.sleep(max(0.0, begun + number / spec.per_second - time.time()))
            await slots.acquire()
            task = asyncio.create_task(one(number, begun + number / spec.per_second if paced else time.time()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if time.time() > begun + spec.patience_s:
                break
        if tasks:
            await asyncio.wait(tasks, timeout=max(1.0, begun + spec.patience_s - time.time()))

    await asyncio.wait_for(all_of(range(-spec.warm, 0)), _WARM_S)
    if report.errors:
        raise SystemExit(f"the warm-up failed: {report.errors[0]}")
    await asyncio.to_thread(go)
    await all_of(range(spec.count))
    report.write(spec)

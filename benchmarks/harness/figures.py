"""The arithmetic: from what a client, a call log and /proc saw to the figures. Pure; everything in it is tested."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SETTLING_S = 1.0  # of a paced run, left out of its latencies
_ON_ITS_WAY_S = 0.2


@dataclass(frozen=True)
class Seen:
    """What the client wrote down. Moments are epoch seconds."""

    sent: Mapping[int, float]
    arrived: Sequence[tuple[int, float]]
    wrong: int
    errors: Sequence[str]

    @classmethod
    def read(cls, report: Mapping[str, Any]) -> Seen:
        return cls(dict(report["sent"]), [tuple(one) for one in report["arrived"]], report["wrong"], report["errors"])

    def firsts(self) -> dict[int, float]:
        """When each invocation's result came for the first time."""
        found: dict[int, float] = {}
        for number, at in self.arrived:
            found[number] = min(at, found.get(number, math.inf))
        return found


@dataclass(frozen=True)
class Outcome:
    """Of one run. Latencies are None where nothing came back."""

    finished: int
    lost: int
    doubled: int
    wrong: int
    seconds: float
    per_second: float
    p50_ms: float | None
    p99_ms: float | None


def outcome(seen: Seen, *, paced: bool) -> Outcome:
    """The clock runs from the first submission to the last first result."""
    firsts = seen.firsts()
    begun = min(seen.sent.values())
    seconds = max(firsts.values(), default=begun) - begun
    settled = begun + (_SETTLING_S if paced else 0.0)
    latencies = [(at - seen.sent[one]) * 1000 for one, at in firsts.items() if seen.sent[one] >= settled]
    return Outcome(
        finished=len(firsts),
        lost=len(seen.sent.keys() - firsts.keys()),
        doubled=len(seen.arrived) - len(firsts),
        wrong=seen.wrong,
        seconds=seconds,
        per_second=len(firsts) / seconds if seconds else 0.0,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
    )


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The smallest value that at least ``percent`` of them do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None of nothing."""
    there = [one for one in values if one is not None]
    return statistics.median(there) if there else None


@dataclass(frozen=True)
class Calls:
    """Model calls of runs with kills. ``again``: started once more, by whether the earlier one had finished."""

    started: int
    finished_again: int
    in_flight_again: int


def count_calls(log: Iterable[str]) -> Calls:
    """Of the lines of a ``CallLog``. A line that a kill cut short is not a line.

    A call that starts while an earlier start of it has no end was in flight at the kill; one that starts after it has finished is
    paid for twice.
    """
    started, finished = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    finished_again = in_flight_again = 0
    for line in log:
        match line.split():
            case ["s", invocation, turn, _]:
                call = invocation, turn
                if finished[call]:
                    finished_again += 1
                elif started[call]:
                    in_flight_again += 1
                started[call] += 1
            case ["f", invocation, turn, _]:
                finished[invocation, turn] += 1
    return Calls(started.total(), finished_again, in_flight_again)


def back_after(
    kills: Sequence[float], restarts: Sequence[float], arrived: Iterable[tuple[int, float]]
) -> list[float | None]:
    """Seconds from each restart of the worker to its first result; None if none came before the next kill.

    What comes within the first 0.2 s was on its way to the client already: no worker has loaded its libraries by then.
    """
    moments = sorted(at for _, at in arrived)
    ends = [*kills[1:], math.inf]
    found = []
    for restarted, end in zip(restarts, ends, strict=True):
        first = next((at for at in moments if restarted + _ON_ITS_WAY_S <= at < end), None)
        found.append(None if first is None else first - restarted)
    return found

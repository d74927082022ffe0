"""How headrace's figures grow: with partitions, workers, backlog, message size and the length of a conversation.

Each point is one run of setting A (throughput) or of 20 a second (latency); beside headrace, where it says something, the raw
exactly-once loop with group commits in the same sitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.harness.catalog import SETTINGS, VARIANTS
from benchmarks.harness.measure import measure
from benchmarks.harness.processes import NotReady
from benchmarks.harness.progress import Progress
from benchmarks.harness.session import Session, Shape
from benchmarks.harness.store import Results, stamp

_A, _LATENCY = SETTINGS["A"], SETTINGS["latency"]
_QUICK = 20


@dataclass(frozen=True)
class Point:
    """One x of a curve: how it is run, for each series that has it."""

    x: float
    shape: Shape


@dataclass(frozen=True)
class Curve:
    name: str
    title: str
    x: str
    points: Sequence[Point]
    with_latency: bool
    series: tuple[str, ...] = ("headrace", "raw-group")


CURVES = (
    Curve(
        "partitions",
        "Throughput against partitions of each topic",
        "partitions",
        [Point(n, Shape(count=20_000, partitions=n)) for n in (1, 3, 6, 12, 24)],
        with_latency=True,
    ),
    Curve(
        "workers",
        "Throughput against worker processes, all on the same two cores",
        "workers",
        [Point(n, Shape(count=20_000, workers=n)) for n in (1, 2)],
        with_latency=True,
    ),
    Curve(
        "backlog",
        "Throughput against invocations that wait at the start",
        "invocations",
        [Point(n, Shape(count=n)) for n in (500, 2_000, 10_000, 40_000)],
        with_latency=False,
    ),
    Curve(
        "size",
        "Throughput against message size",
        "bytes",
        [
            Point(size, Shape(count=count, payload_bytes=size))
            for size, count in ((1_000, 8_000), (10_000, 4_000), (100_000, 600), (1_000_000, 100))
        ],
        with_latency=True,
    ),
)
_LATENCY_COUNT = 120


def measure_all(session: Session, results: Results, progress: Progress, *, quick: bool) -> None:
    for curve in CURVES:
        progress.expect([_name(curve, point, series) for point in curve.points for series in curve.series])
        found: list[dict[str, Any]] = []
        for point in curve.points:
            for series in curve.series:
                with progress.run(_name(curve, point, series)) as said:
                    try:
                        found.append(_measured(session, curve, point, series, quick))
                    except NotReady as error:
                        said.append(f"failed: {error}")
                        continue
                    said.append(f"{found[-1]['per_second']:,.0f}/s")
            entry = {"title": curve.title, "x": curve.x, "points": found, **stamp()}
            results.content["growth"][curve.name] = entry
            results.save()


def _name(curve: Curve, point: Point, series: str) -> str:
    return f"{curve.name} {point.x:,}: {series}"


def _measured(session: Session, curve: Curve, point: Point, series: str, quick: bool) -> dict[str, Any]:
    variant, shape = VARIANTS[series], point.shape
    if quick:
        shape = replace(shape, count=max(20, (shape.count or 0) // _QUICK))
    throughput = measure(session, variant, _A, shape)
    names = ("per_second", "worker_cpu_s_per_1000", "peak_rss_mb", "lost", "doubled", "wrong")
    entry = {"series": series, "x": point.x, **{name: throughput[name] for name in names}}
    if curve.with_latency and series == "headrace":
        paced = measure(session, variant, _LATENCY, replace(shape, count=30 if quick else _LATENCY_COUNT))
        entry |= {"p50_ms": paced["p50_ms"], "p99_ms": paced["p99_ms"]}
    return entry

"""What headrace is to reach, and what was seen: a table over all that is measured; and the table of the services one by one.

Each aim reads the figures that it is about; where they are not there yet, it says so and nothing is called reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.figures import median
from benchmarks.text import number, ratio, table

Content = Mapping[str, Any]
_AGENT_PEERS = (
    "dbos",
    "celery-threads",
    "celery-prefork",
    "restate",
    "calfkit",
    "eggai-first",
    "faststream-first",
    "faststream-after",
    "faust",
)
_TENFOLD = ("dbos", "celery-threads", "celery-prefork", "calfkit")
_UNMEASURED = "Not measured yet.\n"


class _Missing(Exception):
    """A figure that an aim needs is not there."""


@dataclass(frozen=True)
class Aim:
    """``seen`` gives the text of what was measured and whether that is enough."""

    what: str
    reach: str
    seen: Callable[[Content], tuple[str, bool]]


def aims(content: Content) -> str:
    rows = []
    for aim in AIMS:
        try:
            text, reached = aim.seen(content)
        except _Missing:
            rows.append([aim.what, aim.reach, "", "not measured"])
        else:
            rows.append([aim.what, aim.reach, text, "yes" if reached else "**no**"])
    return table(["measure", "is to be", "was", "reached"], rows)


# --- figures -----------------------------------------------------------------------------------------------------------


def _ours(content: Content, setting: str) -> Content:
    return _variant(content, setting, "headrace")


def _variant(content: Content, setting: str, name: str) -> Content:
    found: Content | None = content["summary"].get(setting, {}).get(name)
    if found is None:
        raise _Missing
    return found


def _times(content: Content, setting: str, others: Iterable[str]) -> dict[str, float]:
    """By how much headrace is faster than each of ``others`` that ran."""
    ours, ran = _ours(content, setting)["per_second"], content["summary"].get(setting, {})
    found = {ran[name]["title"]: ours / ran[name]["per_second"] for name in others if name in ran}
    if not found:
        raise _Missing
    return found


def _edge(content: Content, part: str, name: str) -> float:
    """The median over the rounds of ``benchmarks.edges``."""
    rounds: Sequence[Content] = content["scripts"].get("edges", {}).get("figures", {}).get(part, ())
    if not rounds or name not in rounds[0]:
        raise _Missing
    middle = median(one[name] for one in rounds)
    assert middle is not None
    return middle


# --- aims --------------------------------------------------------------------------------------------------------------


def _share(setting: str, least: float) -> Callable[[Content], tuple[str, bool]]:
    def seen(content: Content) -> tuple[str, bool]:
        ours = _ours(content, setting)
        if ours["ratio_to_raw"] is None:
            raise _Missing
        return f"{ratio(ours['ratio_to_raw'])} ({number(ours['per_second'])}/s)", ours["ratio_to_raw"] >= least

    return seen


def _ahead(setting: str, others: Sequence[str], least: float) -> Callable[[Content], tuple[str, bool]]:
    def seen(content: Content) -> tuple[str, bool]:
        times = _times(content, setting, others)
        closest = min(times, key=lambda name: times[name])
        digits = 0 if times[closest] >= 20 else 1 if times[closest] >= 1 else 2
        return f"{number(times[closest], digits)}x {closest}", times[closest] >= least

    return seen


def _at_most(setting: str, key: str, most: float, unit: str, digits: int = 0) -> Callable[[Content], tuple[str, bool]]:
    def seen(content: Content) -> tuple[str, bool]:
        value = _ours(content, setting)[key]
        return f"{number(value, digits)} {unit}", value <= most

    return seen


def _rate(part: str, name: str, least: float) -> Callable[[Content], tuple[str, bool]]:
    def seen(content: Content) -> tuple[str, bool]:
        value = _edge(content, part, name)
        return f"{number(value)}/s", value >= least

    return seen


def _within(part: str, name: str, most: float, unit: str, digits: int) -> Callable[[Content], tuple[str, bool]]:
    def seen(content: Content) -> tuple[str, bool]:
        value = _edge(content, part, name)
        return f"{number(value, digits)} {unit}", value <= most

    return seen


def _latency(content: Content) -> tuple[str, bool]:
    ours = _ours(content, "latency")
    return f"{number(ours['p50_ms'])} / {number(ours['p99_ms'])} ms", ours["p50_ms"] <= 40 and ours["p99_ms"] <= 100


def _killed(content: Content) -> Content:
    for one in content["kills"]:
        if one["variant"] == "headrace":
            return one
    raise _Missing


def _nothing_lost(content: Content) -> tuple[str, bool]:
    one = _killed(content)
    return f"{one['lost']} lost, {one['doubled']} doubled, {one['kills']} kills", not one["lost"] and not one["doubled"]


def _back(content: Content) -> tuple[str, bool]:
    seconds = _killed(content)["back_s"]
    there = [one for one in seconds if one is not None]
    whole = len(there) == len(seconds)
    worst = f"{number(max(there), 1)} s at worst" if there else "never"
    return worst + ("" if whole else ", not always before the next kill"), whole and max(there) <= 2


def _stored(content: Content) -> tuple[str, bool]:
    shapes = content["transcript"].get("shapes", ()) if content["transcript"] else ()
    of = [one for one in shapes if one["turns"] == 100 and one["shape"].startswith("8 KB")]
    if not of:
        raise _Missing
    worst = max(one["ratio"] for one in of)
    return (
        f"{worst:.2f} at most, records of {number(max(one['greatest_record_bytes'] for one in of))} bytes",
        worst <= 2,
    )


AIMS = (
    Aim("A: share of the raw exactly-once loop", "at least 0.5", _share("A", 0.5)),
    Aim("A: beside the nearest agent or workflow peer", "ahead", _ahead("A", _AGENT_PEERS, 1.0)),
    Aim("A: beside DBOS, Celery, Calfkit", "10x", _ahead("A", _TENFOLD, 10.0)),
    Aim(
        "A: beside quixstreams, which works on one record at a time", "at least 0.3x", _ahead("A", ["quixstreams"], 0.3)
    ),
    Aim("B, 1,000 in flight: beside quixstreams", "100x", _ahead("B1000", ["quixstreams"], 100.0)),
    Aim(
        "A: CPU of reasoning and tools, per 1,000 invocations",
        "at most 0.35 s",
        _at_most("A", "worker_cpu_s_per_1000", 0.35, "s", 2),
    ),
    Aim("end to end at 20/s, P50 / P99", "at most 40 / 100 ms", _latency),
    Aim("B, 1,000 in flight: share of the raw loop", "at least 0.95", _share("B1000", 0.95)),
    Aim("B, 5,000 in flight: share of the raw loop", "at least 0.6", _share("B5000", 0.6)),
    Aim("B, 5,000 in flight: beside a bare Redis worker", "ahead", _ahead("B5000", ["redis-blmove"], 1.0)),
    Aim("B, 5,000 in flight: peak RSS", "at most 250 MB", _at_most("B5000", "peak_rss_mb", 250, "MB")),
    Aim("kill -9 under load: lost", "0", _nothing_lost),
    Aim("kill -9 under load: first result after", "at most 2 s", _back),
    Aim(
        "the whole mesh, signed webhook to Postgres and audit",
        "at least 800/s",
        _rate("mesh", "mesh: webhooks a second, until all is stored and audited", 800),
    ),
    Aim(
        "gateway: signed 2 KB webhooks, per core",
        "at least 2,500/s",
        _rate("gateway", "gateway: a second and core", 2_500),
    ),
    Aim(
        "gateway: P99 at half of that",
        "below 100 ms",
        _within("gateway", "gateway, paced at half of the target: P99 ms", 100, "ms", 0),
    ),
    Aim("ingest alone, a backlog", "at least 15,000/s", _rate("ingest", "ingest: a second", 15_000)),
    Aim("persistence alone, a backlog", "at least 10,000/s", _rate("persistence", "persistence: a second", 10_000)),
    Aim("a conversation of 100 model calls, 200,000 tokens: stored / unique bytes", "at most 2.0", _stored),
    Aim("start of the embedded mesh", "at most 12 s", _within("start", "start of the mesh, used data: s", 12, "s", 1)),
)


# --- the services one by one -------------------------------------------------------------------------------------------


def edges(content: Content) -> str:
    """Every figure of ``benchmarks.edges``: median over its rounds, and both ends."""
    found = content["scripts"].get("edges", {}).get("figures")
    if not found:
        return _UNMEASURED
    rows = []
    for part, rounds in found.items():
        for name in rounds[0]:
            values = sorted(one[name] for one in rounds)
            digits = 0 if values[-1] >= 100 else 2
            ends = f"{number(values[0], digits)} to {number(values[-1], digits)}" if len(values) > 1 else ""
            rows.append([part, name, number(median(values), digits), ends])
    return table(["", "figure", "median", "rounds"], rows)

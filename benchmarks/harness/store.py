"""``benchmarks/results.json``: every sample that was taken, and what follows from the samples. Rewritten after each run.

    format        1
    machine       cpu, cores, memory_gb, system, python: where the newest samples were taken
    samples       a list, one entry a run (below)
    kills         a list, one entry a variant: title, at, commit, per_second, seed, kills, submitted, finished, lost, doubled,
                  wrong, calls_started, finished_calls_again, in_flight_calls_again, back_s (a list; null: not before the next kill)
    growth        name of a curve -> {title, x, at, commit, points: [{series, x, per_second, p50_ms, ...}]}
    transcript    {at, commit, shapes: [{shape, turns, unique_bytes, stored_bytes, ratio, greatest_record_bytes}]}
    scripts       name of a benchmark script -> {at, commit, note, figures}: what it wrote with --json
    unavailable   variant -> why it could not run
    summary       setting -> variant -> medians, totals, rounds, versions, promise, commits; what ``summarise`` makes of ``samples``

A sample: session (one invocation of the benchmark), round, setting, variant, title, promise, at (UTC), commit, versions, count,
finished, lost, doubled, wrong, seconds, per_second, p50_ms, p99_ms, worker_/servers_/client_cpu_s_per_1000, other_cpu_s (what
anything else on the machine took meanwhile), peak_rss_mb, errors, ratio_to_raw (to the yardstick in the same round).
A new session's samples of a variant in a setting replace the older ones.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import psutil
from benchmarks.harness.catalog import YARDSTICK
from benchmarks.harness.figures import median
from benchmarks.harness.processes import ROOT

RESULTS = ROOT / "benchmarks" / "results.json"
FORMAT = 1
MEDIANS = (
    "per_second",
    "ratio_to_raw",
    "p50_ms",
    "p99_ms",
    "worker_cpu_s_per_1000",
    "servers_cpu_s_per_1000",
    "client_cpu_s_per_1000",
    "peak_rss_mb",
)
TOTALS = ("lost", "doubled", "wrong")
Sample = dict[str, Any]


def stamp() -> dict[str, str]:
    """When, and what was checked out."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}


@cache
def commit() -> str:
    """Of this checkout, when it was first asked for; ``+`` where the code differs from it."""
    hash_ = _git("rev-parse", "--short=12", "HEAD")
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", "services", "benchmarks/*.py", "benchmarks/peers"
    )
    return (hash_ or "unknown") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
    }


class Results:
    """The file's content; ``save`` after every change, so that an interrupted benchmark loses nothing."""

    def __init__(self, path: Path = RESULTS) -> None:
        self._path = path
        self.content: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {"format": FORMAT}
        for name, empty in (("samples", list), ("kills", list), ("growth", dict), ("transcript", dict)):
            self.content.setdefault(name, empty())
        for name in ("scripts", "unavailable", "summary"):
            self.content.setdefault(name, {})

    def add(self, sample: Sample) -> None:
        self.content["samples"] = [*_without_replaced(self.content["samples"], sample), sample]
        self.content["unavailable"].pop(sample["variant"], None)
        self.save()

    def add_kills(self, found: Mapping[str, Any]) -> None:
        """One entry a variant."""
        others = [one for one in self.content["kills"] if one["variant"] != found["variant"]]
        self.content["kills"] = [*others, dict(found)]
        self.save()

    def close_round(self, session: str, setting: str, number: int) -> None:
        """Ratios to the yardstick of this round, once it is over."""
        close_round(self.content["samples"], session, setting, number)
        self.save()

    def save(self) -> None:
        self.content["machine"] = machine()
        self.content["summary"] = summarise(self.content["samples"])
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(self.content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        partial.replace(self._path)


def _without_replaced(samples: Iterable[Sample], new: Sample) -> list[Sample]:
    def is_replaced(old: Sample) -> bool:
        same = (old["variant"], old["setting"]) == (new["variant"], new["setting"])
        return same and old["session"] != new["session"]

    return [old for old in samples if not is_replaced(old)]


def close_round(samples: Iterable[Sample], session: str, setting: str, number: int) -> None:
    of_round = [one for one in samples if (one["session"], one["setting"], one["round"]) == (session, setting, number)]
    raw = median(one["per_second"] for one in of_round if one["variant"] == YARDSTICK)
    for one in of_round:
        one["ratio_to_raw"] = one["per_second"] / raw if raw else None


def summarise(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for one in samples:
        groups[one["setting"], one["variant"]].append(one)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for (setting, variant), group in groups.items():
        found[setting][variant] = {
            **{name: median(one[name] for one in group) for name in MEDIANS},
            **{name: sum(one[name] for one in group) for name in TOTALS},
            **{name: group[-1][name] for name in ("title", "promise", "versions")},
            "rounds": len(group),
            "commits": sorted({one["commit"] for one in group}),
        }
    return dict(found)

"""The parts of the benchmark, in the order in which they run. Each writes to the results after every single run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from benchmarks.harness import growth, transcript
from benchmarks.harness.catalog import Choice, Setting, Variant
from benchmarks.harness.kills import with_kills
from benchmarks.harness.measure import measure
from benchmarks.harness.processes import ROOT, NotReady
from benchmarks.harness.progress import Progress
from benchmarks.harness.servers import Unavailable
from benchmarks.harness.session import Session, Shape
from benchmarks.harness.store import Results, stamp
from benchmarks.harness.venvs import version_of

QUICK = 10  # a quick run has a tenth of the work
_LEAST = 40
_SCRIPTS = {  # and what makes each quick
    "pipeline": ("--invocations", "200", "--runs", "1"),
    "accounts": ("--runs", "400", "--rounds", "1"),
    "relay": ("--records", "2000", "--runs", "1"),
    "edges": ("--rounds", "1", "--records", "60000", "--invocations", "200", "--paced-seconds", "2"),
    "persistence_batch": ("--runs", "1000"),
}


@dataclass(frozen=True)
class Options:
    choice: Choice
    settings: Sequence[Setting]
    rounds: int
    kills: int
    quick: bool
    seed: int

    def count(self, variant: Variant, setting: Setting) -> int:
        whole = variant.count(setting.name)
        return max(min(_LEAST, whole), whole // QUICK) if self.quick else whole


Part = Callable[[Session, Options, Results, Progress], None]


def peers(session: Session, options: Options, results: Results, progress: Progress) -> None:
    """Alternating rounds: each variant once, in the opposite order in every second round."""
    for setting in options.settings:
        takers = [one for one in options.choice.variants(yardstick=True) if one.takes(setting.name)]
        rounds = range(1, options.rounds + 1)
        progress.expect([_name(setting, number, one) for number in rounds for one in takers])
        for number in rounds:
            for variant in takers if number % 2 else takers[::-1]:
                with progress.run(_name(setting, number, variant)) as said:
                    said.append(_one(session, options, results, variant, setting, number))
            results.close_round(session.id, setting.name, number)


def _name(setting: Setting, number: int, variant: Variant) -> str:
    return f"{setting.name} round {number}: {variant.name}"


def _one(session: Session, options: Options, results: Results, variant: Variant, setting: Setting, number: int) -> str:
    try:
        found = measure(session, variant, setting, Shape(count=options.count(variant, setting)))
    except Unavailable as error:
        results.content["unavailable"][variant.name] = str(error)
        results.save()
        return f"can't run here: {error}"
    except (NotReady, subprocess.SubprocessError) as error:
        results.content["unavailable"][variant.name] = f"{setting.name}: {error}"
        results.save()
        return f"failed: {error}"
    about = {"title": variant.title, "promise": variant.promise, "versions": versions(session, variant)}
    place = {"session": session.id, "round": number, "setting": setting.name, "variant": variant.name}
    results.add({**place, **about, **stamp(), **found, "ratio_to_raw": None})
    return _line(found)


def _line(found: dict[str, Any]) -> str:
    text = f"{found['per_second']:,.0f}/s, P50 {found['p50_ms'] or 0:,.0f} ms, {found['peak_rss_mb']:.0f} MB"
    troubles = [f"{found[what]} {what}" for what in ("lost", "doubled", "wrong") if found[what]]
    return ", ".join([text, *troubles, *found["errors"][:1]])


def versions(session: Session, variant: Variant) -> str:
    """Of its packages, and of the servers that only it needs."""
    packages = [f"{name} {version_of(variant.folder, name)}" for name in variant.packages]
    servers = [
        f"{name} server {found.version}" for name in variant.servers if (found := session.servers.get(name)).version
    ]
    return ", ".join(packages + servers)


def kills(session: Session, options: Options, results: Results, progress: Progress) -> None:
    takers = [one for one in options.choice.variants(yardstick=False) if one.kill_per_second]
    progress.expect([f"kills: {one.name}" for one in takers])
    for variant in takers:
        with progress.run(f"kills: {variant.name}") as said:
            try:
                found = with_kills(session, variant, options.kills, options.seed)
            except (Unavailable, NotReady, subprocess.SubprocessError) as error:
                said.append(f"failed: {error}")
                continue
            results.add_kills(found | stamp())
            said.append(_killed(found))


def _killed(found: dict[str, Any]) -> str:
    again = f"{found['finished_calls_again']} finished and {found['in_flight_calls_again']} open calls again"
    back = ", ".join("-" if one is None else f"{one:.1f}" for one in found["back_s"])
    return f"seed {found['seed']}, {found['lost']} of {found['submitted']} lost, {again}, back after {back} s"


def scripts(_session: Session, options: Options, results: Results, progress: Progress) -> None:
    """The benchmarks of single parts, each a script of its own."""
    progress.expect(list(_SCRIPTS))
    for module, quick in _SCRIPTS.items():
        with progress.run(module) as said, tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.json"
            argv = [
                sys.executable,
                "-m",
                f"benchmarks.{module}",
                "--json",
                str(path),
                *(quick if options.quick else ()),
            ]
            subprocess.run(argv, cwd=ROOT, check=True)
            results.content["scripts"][module] = {**stamp(), "figures": orjson.loads(path.read_bytes())}
            results.save()
            said.append("done")


def curves(session: Session, options: Options, results: Results, progress: Progress) -> None:
    growth.measure_all(session, results, progress, quick=options.quick)


def conversations(_session: Session, _options: Options, results: Results, _progress: Progress) -> None:
    results.content["transcript"] = {**stamp(), "shapes": transcript.measure()}
    results.save()


PARTS: dict[str, Part] = {
    "peers": peers,
    "kills": kills,
    "growth": curves,
    "transcript": conversations,
    "scripts": scripts,
}

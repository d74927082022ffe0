"""docs/performance.md's tables and plots, made from benchmarks/results.json: ``python -m benchmarks.report [--check]``.

The page's prose is written by hand; what is between ``<!-- table: NAME -->`` and ``<!-- end -->`` comes from here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.catalog import SETTINGS, VARIANTS
from benchmarks.harness.figures import median
from benchmarks.harness.processes import ROOT
from benchmarks.harness.store import TOTALS, Results
from benchmarks.text import number, ratio, table

from benchmarks import aims, plots

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
_MARKED = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_UNMEASURED = "Not measured yet.\n"
Content = Mapping[str, Any]


def _picture(name: str, text: str) -> str:
    return f"![{text}](performance/{name}.svg)\n\n"


def _rate(figures: Content | None) -> str:
    """A rate with its ratio; small ones with a decimal."""
    if figures is None:
        return ""
    rate = figures["per_second"]
    return f"{number(rate, 0 if rate >= 10 else 1)} ({ratio(figures['ratio_to_raw'])})"


def _by_rate(content: Content, setting: str) -> list[tuple[str, Content]]:
    """Variants with figures in ``setting``, fastest first."""
    found = content["summary"].get(setting, {}).items()
    return sorted(found, key=lambda item: -item[1]["per_second"])


def _title(figures: Content) -> str:
    return f"{figures['title']} ({figures['versions']})" if figures["versions"] else str(figures["title"])


def _emphasised(variant: str, text: str) -> str:
    return f"**{text}**" if variant == "headrace" else text


def throughput(content: Content) -> str:
    head = [
        "system",
        "promise",
        "invocations/s (of raw)",
        "CPU s per 1,000: worker",
        "servers",
        "client",
        "peak RSS, MB",
    ]
    rows = [
        [
            _emphasised(variant, _title(one)),
            one["promise"],
            _rate(one),
            number(one["worker_cpu_s_per_1000"], 2),
            number(one["servers_cpu_s_per_1000"], 2),
            number(one["client_cpu_s_per_1000"], 2),
            number(one["peak_rss_mb"]),
        ]
        for variant, one in _by_rate(content, "A")
    ]
    return _picture("throughput", "Invocations a second") + table(head, rows)


def waits(content: Content) -> str:
    head = ["system"]
    for name in ("B1000", "B5000"):
        head += [f"{SETTINGS[name].in_flight:,} in flight: /s (of raw)", "peak RSS, MB"]
    summary = content["summary"]
    both = {variant: one for name in ("B5000", "B1000") for variant, one in summary.get(name, {}).items()}
    order = sorted(both, key=lambda variant: -both[variant]["per_second"])
    rows = []
    for variant in order:
        row = [_emphasised(variant, both[variant]["title"])]
        for name in ("B1000", "B5000"):
            one = summary.get(name, {}).get(variant)
            row += [_rate(one), number(one["peak_rss_mb"]) if one else ""]
        rows.append(row)
    return table(head, rows)


def latency(content: Content) -> str:
    found = content["summary"].get("latency", {})
    order = sorted(found, key=lambda variant: found[variant]["p50_ms"] or 0)
    rows = [
        [_emphasised(one, found[one]["title"]), number(found[one]["p50_ms"]), number(found[one]["p99_ms"])]
        for one in order
    ]
    return table(["system", "P50, ms", "P99, ms"], rows)


def kills(content: Content) -> str:
    head = ["system", "kills", "lost of", "doubled results", "finished calls made again", "open calls made again"]
    head += ["back at work after, s (median; worst)", "load, /s", "seed"]
    order = list(VARIANTS)
    rows = []
    for one in sorted(content["kills"], key=lambda one: order.index(one["variant"])):
        rows.append(
            [
                _emphasised(one["variant"], one["title"]),
                str(one["kills"]),
                f"{one['lost']} of {one['submitted']:,}",
                str(one["doubled"]),
                str(one["finished_calls_again"]),
                str(one["in_flight_calls_again"]),
                _back(one["back_s"]),
                number(one["per_second"]),
                str(one["seed"]),
            ]
        )
    return table(head, rows)


def _back(seconds: Sequence[float | None]) -> str:
    there = [one for one in seconds if one is not None]
    never = len(seconds) - len(there)
    text = f"{number(median(there), 1)}; {number(max(there), 1)}" if there else ""
    return text + (f"{', ' if text else ''}not before the next kill: {never}" if never else "")


def _growth(name: str, content: Content) -> str:
    curve = content["growth"].get(name)
    if curve is None:
        return _UNMEASURED
    head = [
        curve["x"],
        "headrace, /s",
        "raw loop, /s",
        "of raw",
        "P50 / P99, ms at 20/s",
        "CPU s per 1,000",
        "peak RSS, MB",
    ]
    by_x: dict[float, dict[str, Content]] = {}
    for point in curve["points"]:
        by_x.setdefault(point["x"], {})[point["series"]] = point
    rows = []
    for x, of in sorted(by_x.items()):
        ours, raw = of.get("headrace", {}), of.get("raw-group", {})
        both = ours and raw
        rows.append(
            [
                f"{x:,}",
                number(ours.get("per_second")),
                number(raw.get("per_second")),
                ratio(ours["per_second"] / raw["per_second"]) if both else "",
                f"{number(ours['p50_ms'])} / {number(ours['p99_ms'])}" if "p50_ms" in ours else "",
                number(ours.get("worker_cpu_s_per_1000"), 2),
                number(ours.get("peak_rss_mb")),
            ]
        )
    return _picture(name, curve["title"]) + table(head, rows)


def transcript(content: Content) -> str:
    if not content["transcript"]:
        return _UNMEASURED
    head = ["shape", "model calls", "unique content, bytes", "stored, bytes", "ratio", "greatest record, bytes"]
    rows = [
        [
            one["shape"],
            str(one["turns"]),
            number(one["unique_bytes"]),
            number(one["stored_bytes"]),
            f"{one['ratio']:.2f}",
            number(one["greatest_record_bytes"]),
        ]
        for one in content["transcript"]["shapes"]
        if one["turns"] >= 100
    ]
    return _picture("transcript", "Stored bytes and the greatest record, by length") + table(head, rows)


def about(content: Content) -> str:
    """Machine, commits, dates, rounds, and what did not run or went wrong."""
    machine, samples = content["machine"], content["samples"]
    cores = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    facts = [f"{cores}; {machine['system']}; Python {machine['python']}."]
    for name in SETTINGS:
        of = [one for one in samples if one["setting"] == name]
        if of:
            days = sorted({one["at"][:10] for one in of})
            ours = sorted({one["commit"] for one in of if one["variant"] == "headrace"})
            rounds = sorted({one["rounds"] for one in content["summary"][name].values()})
            busy = [one["other_cpu_s"] / (one["seconds"] * machine["cores"]) for one in of if one["seconds"]]
            facts.append(
                f"{name}: {' to '.join(map(str, _ends(rounds)))} rounds on {' to '.join(_ends(days))}, "
                f"headrace at {', '.join(ours) or 'none'}; other work took {median(busy) or 0:.0%} of the machine in the "
                f"median run, {max(busy):.0%} in the worst."
            )
    facts += [
        f"`benchmarks.{name}`: {one['at'][:10]}, at {one['commit']}" + (f"; {one['note']}." if "note" in one else ".")
        for name, one in sorted(content["scripts"].items())
    ]
    facts += [f"Not run: {VARIANTS[name].title}: {reason}" for name, reason in sorted(content["unavailable"].items())]
    facts.append(_trouble(content))
    return "".join(f"- {fact}\n" for fact in facts)


def _ends(values: Sequence[Any]) -> list[Any]:
    return [values[0]] if values[0] == values[-1] else [values[0], values[-1]]


def _trouble(content: Content) -> str:
    found = [
        f"{one['title']} in {setting}: " + ", ".join(f"{one[what]} {what}" for what in TOTALS if one[what])
        for setting, variants in content["summary"].items()
        for one in variants.values()
        if any(one[what] for what in TOTALS)
    ]
    return "Results lost, doubled or wrong without a kill: " + ("; ".join(found) or "none") + "."


def _script(content: Content, name: str) -> Any:
    """What a script measured, or None."""
    return content["scripts"].get(name, {}).get("figures")


def clients(content: Content) -> str:
    found = _script(content, "pipeline")
    if found is None:
        return _UNMEASURED
    head = ["calls", "", "rate, /s (of the bare loop)", "CPU s per 1,000", "P50 / P99, ms at 20/s", "peak RSS, MB"]
    rows = []
    for case, by_name in found.items():
        bare = next(iter(by_name.values()))
        for name, runs in by_name.items():
            share = median(ours["per_second"] / other["per_second"] for ours, other in zip(runs, bare, strict=True))
            middle = {key: median(one[key] for one in runs) for key in runs[0]}
            latency = f"{number(middle['p50_ms'])} / {number(middle['p99_ms'])}"
            cost, size = number(middle["cpu_s_per_1000"], 2), number(middle["peak_rss_mb"])
            rows.append([case, name, f"{number(middle['per_second'])} ({ratio(share)})", cost, latency, size])
    return table(head, rows)


def hop(content: Content) -> str:
    found = _script(content, "relay")
    if found is None:
        return _UNMEASURED
    bare = found["bare loop"]
    rows = []
    for name, runs in found.items():
        share = median(one["per_second"] / other["per_second"] for one, other in zip(runs, bare, strict=True))
        rate, cost = median(one["per_second"] for one in runs), median(one["cpu_per_1000"] for one in runs)
        rows.append([name, f"{number(rate)} ({ratio(share)})", number(cost, 3)])
    return table(["", "rate, /s (of the bare loop)", "CPU s per 1,000"], rows)


def accounts(content: Content) -> str:
    found = _script(content, "accounts")
    if found is None:
        return _UNMEASURED
    bare = [one["bare read of the records"][0] for one in found]
    rows = []
    for what in found[0]:
        share = median(one[what][0] / rate for one, rate in zip(found, bare, strict=True))
        rate, cost = (median(one[what][at] for one in found) for at in (0, 1))
        rows.append([what, number(rate), ratio(share), number(cost or None, 2)])
    return table(["", "records/s", "of a bare read", "CPU s per 1,000"], rows)


TABLES: dict[str, Callable[[Content], str]] = {
    "about": about,
    "aims": aims.aims,
    "throughput": throughput,
    "waits": waits,
    "latency": latency,
    "kills": kills,
    "partitions": lambda content: _growth("partitions", content),
    "workers": lambda content: _growth("workers", content),
    "backlog": lambda content: _growth("backlog", content),
    "size": lambda content: _growth("size", content),
    "transcript": transcript,
    "clients": clients,
    "hop": hop,
    "accounts": accounts,
    "edges": aims.edges,
}


def render(page: str, content: Content) -> str:
    """The page with its tables as ``content`` has them. Raises ``KeyError`` for a marker of no table."""
    return _MARKED.sub(lambda m: f"{m[1]}\n{TABLES[m['name']](content)}\n{m[3]}", page)


def pictures(content: Content) -> dict[str, str]:
    """File name -> SVG."""
    found = {}
    if rated := _by_rate(content, "A"):
        bars = {one["title"]: one["per_second"] for _, one in rated}
        found["throughput.svg"] = plots.bars(
            "Invocations a second, calls that take no time", "invocations/s", bars, emphasised="headrace"
        )
    for name, curve in content["growth"].items():
        found[f"{name}.svg"] = plots.lines(curve["title"], _panels(curve))
    if content["transcript"]:
        found["transcript.svg"] = plots.lines("A conversation as it gets longer", _transcript_panels(content))
    return found


def _panels(curve: Content) -> list[plots.Panel]:
    names = {"headrace": "headrace", "raw-group": "raw exactly-once loop"}
    rates = {
        title: [(one["x"], one["per_second"]) for one in curve["points"] if one["series"] == series]
        for series, title in names.items()
    }
    panels = [plots.Panel(curve["x"], "invocations/s", {name: of for name, of in rates.items() if of})]
    paced = [one for one in curve["points"] if "p50_ms" in one]
    if paced:
        latencies = {
            name: [(one["x"], one[key]) for one in paced] for name, key in (("P50", "p50_ms"), ("P99", "p99_ms"))
        }
        panels.append(plots.Panel(curve["x"], "ms at 20/s", latencies))
    return panels


def _transcript_panels(content: Content) -> list[plots.Panel]:
    shapes = content["transcript"]["shapes"]
    names = list(dict.fromkeys(one["shape"] for one in shapes))

    def of(key: str) -> dict[str, list[tuple[float, float]]]:
        return {name: [(one["turns"], one[key]) for one in shapes if one["shape"] == name] for name in names}

    return [
        plots.Panel("model calls", "stored / unique", of("ratio")),
        plots.Panel("model calls", "greatest record, bytes", of("greatest_record_bytes")),
    ]


def as_text(content: Content) -> str:
    """What was measured, for a terminal."""
    names = ("throughput", "waits", "latency", "kills", "about")
    return "\n".join(f"{name}\n{TABLES[name](content)}" for name in names)


def expected(content: Content) -> dict[Path, str]:
    """Every file that follows from the results, as it has to be."""
    return {PAGE: render(PAGE.read_text(), content)} | {PLOTS / name: svg for name, svg in pictures(content).items()}


def write(content: Content) -> None:
    PLOTS.mkdir(exist_ok=True)
    for path, text in expected(content).items():
        path.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")
    content = Results().content
    if not parser.parse_args().check:
        write(content)
    elif stale := [path for path, text in expected(content).items() if not path.exists() or path.read_text() != text]:
        raise SystemExit(f"not as results.json has it: {', '.join(map(str, stale))}; run python -m benchmarks.report")


if __name__ == "__main__":
    main()

"""Outcomes as text, as ``results.json``, and as the tables of docs/reliability.md."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tests.faults.matrix import MATRIX, Outcome

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "reliability.md"
_SHOWN = 8
Row = dict[str, Any]


def told(outcome: Outcome) -> str:
    """For the screen: seed, injections, verdict, figures."""
    kept = outcome.injected[:_SHOWN]
    more = [f"... {len(outcome.injected) - _SHOWN} more"] if len(outcome.injected) > _SHOWN else []
    figures = ", ".join(f"{name} {value:g}" for name, value in outcome.figures.items())
    lines = [
        f"  seed {outcome.seed}, {outcome.protocol}, {outcome.form}, {outcome.seconds} s, {outcome.kills} kills",
        *(f"  | {line}" for line in [*kept, *more]),
        f"  {figures}",
        *(f"  BROKEN {violation}" for violation in outcome.violations),
        "  holds" if outcome.holds else "  DOES NOT HOLD",
    ]
    return "\n".join(lines)


# --- results.json ------------------------------------------------------------------------------------------------------


def load() -> list[Row]:
    rows: list[Row] = orjson.loads(RESULTS.read_bytes())["outcomes"] if RESULTS.exists() else []
    return rows


def store(outcome: Outcome) -> None:
    """Put the outcome in the place of the last one of its cell, protocol and form, and write the page's tables anew."""
    row = asdict(outcome) | {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z", "commit": _commit()}
    row["injected"] = row["injected"][:_SHOWN]
    others = [old for old in load() if _place(old) != _place(row)]
    rows = sorted([*others, row], key=_place)
    RESULTS.write_bytes(orjson.dumps({"outcomes": rows}, option=orjson.OPT_INDENT_2) + b"\n")
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text(), rows))


def _place(row: Row) -> tuple[int, str, str]:
    names = list(MATRIX)
    return names.index(row["cell"]) if row["cell"] in names else len(names), row["protocol"], row["form"]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


# --- docs/reliability.md -----------------------------------------------------------------------------------------------

_RUNTIME = (
    ("sent", "sent"),
    ("acknowledged", "acknowledged"),
    ("lost", "lost"),
    ("doubled", "doubled"),
    ("order_breaks", "order breaks"),
    ("torn", "torn"),
    ("transactions", "transactions"),
    ("effects_again", "effects again"),
    ("in_flight_again", "in flight again"),
    ("catch_up_s", "caught up after, s"),
    ("silence_s", "longest silence, s"),
)
_PIPELINE = (
    ("sent", "sent"),
    ("acknowledged", "acknowledged"),
    ("lost", "lost"),
    ("doubled", "doubled"),
    ("dead_letters", "dead letters"),
    ("model_calls", "model calls"),
    ("model_calls_again", "made again"),
    ("audit_entries", "audit entries"),
    ("catch_up_s", "caught up after, s"),
)
_GATEWAY = (
    ("sent", "sent"),
    ("acknowledged", "acknowledged (202)"),
    ("refused", "refused (503)"),
    ("unanswered", "unanswered"),
    ("lost", "202 and missing"),
    ("doubled", "doubled"),
    ("refused_but_there", "503 and there"),
    ("unanswered_but_there", "unanswered and there"),
    ("broker_kills", "kills of brokers"),
)


def tables(rows: list[Row]) -> dict[str, str]:
    """The page's tables by the name of their place."""
    runtime = [row for row in rows if "order_breaks" in row["figures"]]
    long, short = ([row for row in runtime if row["form"] == form] for form in ("long", "short"))
    return {
        "runtime": _table([row for row in long if row["protocol"] == "consumer"], _RUNTIME),
        "classic": _table([row for row in short if row["protocol"] == "classic"], _RUNTIME),
        "pipeline": _table([r for r in rows if "model_calls" in r["figures"] and r["form"] == "long"], _PIPELINE),
        "gateway": _table([r for r in rows if "refused" in r["figures"] and r["form"] == "long"], _GATEWAY),
        "window": _window(runtime),
        "simulation": _simulation(rows),
    }


def _table(rows: list[Row], columns: tuple[tuple[str, str], ...]) -> str:
    head = ["cell", "verdict", "kills", *(title for _, title in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(columns) + 1)]
    for row in rows:
        verdict = "holds" if not row["violations"] else "**broken**"
        cells = [row["what"], verdict, f"{row['kills']:,}", *(f"{row['figures'][name]:,}" for name, _ in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _window(rows: list[Row]) -> str:
    """How often an effect that was over was made again, in the cells that only kill."""
    killing = [row for row in rows if row["cell"] in ("kills", "kills-at-steps")]
    kills = sum(row["kills"] for row in killing)
    again, under_way = (sum(r["figures"][name] for r in killing) for name in ("effects_again", "in_flight_again"))
    if not kills:
        return "Not measured yet."
    return (
        f"Over {kills:,} kills: {again:,} effects that were over were made again, {1_000 * again / kills:,.0f} per 1,000 kills; "
        f"{under_way:,} that were under way, {1_000 * under_way / kills:,.0f} per 1,000."
    )


def _simulation(rows: list[Row]) -> str:
    found = [row for row in rows if row["cell"] == "simulation" and row["form"] == "long"]
    if not found:
        return "Not measured yet."
    row = found[0]
    verdict = "none broke an invariant" if not row["violations"] else f"{len(row['violations'])} broke an invariant"
    return f"{row['figures']['seeds']:,} lives from seed {row['seed']} on: {verdict}."


def written(page: str, rows: list[Row]) -> str:
    """``page`` with its tables as ``rows`` have them."""
    for name, text in tables(rows).items():
        begin, end = f"<!-- {name}: written by tests/faults/report.py -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} has no place for the table {name!r}")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page

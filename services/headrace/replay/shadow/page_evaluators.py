"""The report's part about evaluators, as HTML. Pure; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.replay.shadow.markup import Html, code, table, text
from headrace.replay.shadow.plots import share_bar

Facts = dict[str, Any]
_COLUMNS = ("evaluator", "candidate passes", "live", "baseline", "against live, same events", "not told")


def evaluators(evaluated: Sequence[Facts]) -> str:
    """A table of all of them, and the worst examples of each; nothing where there are none."""
    if not evaluated:
        return ""
    note = (
        "Shares are of the answers that passed or failed, with 95 % intervals. The difference is between candidate and live over "
        "the same events, with p by McNemar's exact test; an evaluator whose measure is live has none."
    )
    return (
        f'<h2>Evaluators</h2><p class="soft">{note}</p>{table(_COLUMNS, [_row(one) for one in evaluated])}'
        f"{''.join(map(_worst, evaluated))}"
    )


def _row(one: Facts) -> tuple[Any, ...]:
    candidate = one["candidate"]
    untold = {name: candidate[name] for name in ("not_applicable", "unparsable", "not_judged") if candidate[name]}
    return (
        Html(f"<b>{text(one['name'])}</b> {text(one['kind'])}<br>{text(one['description'])}{_gate(one['gate'])}"),
        *(
            Html(share_bar(one[side]["share"])) if one[side]["share"] else "-"
            for side in ("candidate", "live", "baseline")
        ),
        Html(_against(one["against_live"])),
        ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in untold.items()),
    )


def _gate(gate: Facts | None) -> str:
    if gate is None:
        return ""
    kind, word = ("good", "holds") if gate["passed"] else ("bad", "does not hold")
    return f'<br><span class="{kind}">at least {gate["at_least"]:.1%}: {word}</span>'


def _against(against: Facts | None) -> str:
    if against is None:
        return "-"
    difference = against["difference"]
    return (
        f"{difference['value']:+.1%} ({difference['low']:+.1%} to {difference['high']:+.1%})<br>"
        f"{against['gained']:,} gained, {against['lost']:,} lost of {against['n']:,}; p {against['p']:.3g}"
    )


def _worst(one: Facts) -> str:
    if not one["worst"]:
        return ""
    rows = [
        (example["live"], example["why"], Html(f"{code(example['live_run'] or '-')}<br>{code(example['shadow_run'])}"))
        for example in one["worst"]
    ]
    columns = ("live", "why the candidate fails", "runs: live, shadow")
    return f"<details><summary>{text(one['name'])}: answers that fail</summary>{table(columns, rows)}</details>"

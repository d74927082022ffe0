"""The report's part about evaluators, as HTML. Pure; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headrace.replay.shadow.markup import Html, code, table, text
from headrace.replay.shadow.plots import percent, share_bar, shares_axis

Facts = dict[str, Any]
_COLUMNS: Final = ("evaluator", "passes", "", "against live, over the same events")
_SIDES: Final = (("candidate", "var(--cand)"), ("live", "var(--live)"), ("baseline", "var(--base)"))
_UNTOLD: Final = ("not_applicable", "unparsable", "not_judged")


def evaluators(evaluated: Sequence[Facts]) -> str:
    """A table of all of them, and the worst examples of each; nothing where there are none."""
    if not evaluated:
        return ""
    note = (
        "Shares are of what passed or failed, with 95 % intervals. The difference is over the events of which both sides did, "
        "with p by McNemar's exact test; where live is the measure there is none."
    )
    return (
        f'<h2>Evaluators</h2><p class="soft">{note}</p><div class="wide">{table(_COLUMNS, [_row(one) for one in evaluated])}</div>'
        f"{''.join(map(_worst, evaluated))}"
    )


def _row(one: Facts) -> tuple[Any, ...]:
    shown = [(side, colour, one[side]["share"]) for side, colour in _SIDES if one[side]["share"]]
    bars = "".join(share_bar(share, colour) for _, colour, share in shown) + (shares_axis() if shown else "")
    words = "<br>".join(f"{side} {percent(share)} of {share['n']:,}" for side, _, share in shown)
    name = f"<b>{text(one['name'])}</b> <span class=tag>{text(one['kind'])}</span><br>{text(one['description'])}"
    return (
        Html(name + _gate(one["gate"])),
        Html(bars or "-"),
        Html(f'<span class="num">{words}</span>{_untold(one["candidate"])}'),
        Html(_against(one["against_live"])),
    )


def _untold(candidate: Facts) -> str:
    told = [f"{candidate[name]:,} {name.replace('_', ' ')}" for name in _UNTOLD if candidate[name]]
    return f'<br><span class="soft num">candidate: {", ".join(told)}</span>' if told else ""


def _gate(gate: Facts | None) -> str:
    if gate is None:
        return ""
    kind, word = ("good", "✓ holds") if gate["passed"] else ("bad", "✗ does not hold")
    return f'<br><span class="{kind}">at least {gate["at_least"]:.1%}: {word}</span>'


def _against(against: Facts | None) -> str:
    if against is None:
        return "-"
    difference = against["difference"]
    return (
        f'<span class="num"><b>{difference["value"]:+.1%}</b> ({difference["low"]:+.1%} to {difference["high"]:+.1%})<br>'
        f"{against['gained']:,} gained, {against['lost']:,} lost of {against['n']:,}<br>p {against['p']:.3g}</span>"
    )


def _worst(one: Facts) -> str:
    if not one["worst"]:
        return ""
    rows = [
        (example["live"], example["why"], Html(f"{code(example['live_run'] or '-')}<br>{code(example['shadow_run'])}"))
        for example in one["worst"]
    ]
    columns = ("live", "why the candidate fails", "runs: live, shadow")
    return (
        f"<details><summary>{text(one['name'])}: answers that fail ({one['candidate']['fail']:,})</summary>"
        f'<div class="wide">{table(columns, rows)}</div></details>'
    )

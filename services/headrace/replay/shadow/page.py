"""The report as one HTML file that needs nothing else: no script, no font, no request. Everything from outside is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from headrace.replay.shadow.markup import Html, code, table, text
from headrace.replay.shadow.page_evaluators import evaluators
from headrace.replay.shadow.page_style import STYLE
from headrace.replay.shadow.plots import (
    boxes,
    interval_plot,
    matrix,
    number,
    parts,
    percent,
    share_bar,
    shares_axis,
    signed,
)
from headrace.replay.shadow.statistics import share

Facts = dict[str, Any]
_UNITS: Final = {
    "cost_usd": "cost, US dollars",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "steps": "model calls",
    "latency_ms": "time, ms",
}


def page(facts: Facts) -> str:
    """One HTML document of ``report.report``'s facts."""
    title = f"Shadow replay {facts['replay']['id']}"
    sections = (_head, _summary, _lead, _transitions, _agreement, _evaluators, _deltas, _fields, _worst, _plan)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>{''.join(one(facts) for one in sections)}</body></html>\n"
    )


def _head(facts: Facts) -> str:
    replay = facts["replay"]
    live, candidate = replay["live"], replay["candidate"]
    models = text(live["model"]) + (f" → {text(candidate['model'])}" if candidate["model"] != live["model"] else "")
    return (
        f'<h1>{text(replay["agent"])} {text(live["version"])} <span class="arrow">→</span> {text(candidate["version"])}</h1>'
        f'<p class="soft">Shadow replay <code>{text(replay["id"])}</code> · events from {_time(replay["from_ms"])} to '
        f"{_time(replay['to_ms'])} · model {models}</p>"
    )


def _summary(facts: Facts) -> str:
    account, cost = facts["account"], facts["cost"]
    agreed = facts["agreement"]["outcome"]
    judged = f", judges ${cost['judges_usd']:.4f} of it" if cost["judges_usd"] else ""
    cards = [
        (f"{account['records']:,}", "events in the range"),
        (f"{account['replayed']:,}", f"replayed; {account['without_live_run']:,} without a live run"),
        ("-" if agreed is None else f"{agreed['value']:.1%}", "same outcome as live"),
        (f"${cost['replay_usd']:.4f}", f"spent{judged}; live ${cost['live_usd']:.4f}"),
    ]
    if account["answered_live"]:
        cards.append((f"{account['answered_live']:,}", "tool calls answered live"))
    if gates := [one["gate"]["passed"] for one in facts["evaluators"] if one["gate"]]:
        cards.append((f"{sum(gates)} of {len(gates)}", "gates hold"))
    shown = "".join(f"<div><b>{text(value)}</b>{text(name)}</div>" for value, name in cards)
    return f'<div class="sum">{shown}</div>{_account(account)}'


def _account(account: Facts) -> str:
    skipped, failed = account["skipped"], account["failed"]
    bar = parts(
        [
            ("replayed", account["replayed"], "", "var(--live)"),
            ("skipped", sum(skipped.values()), _reasons(skipped), "var(--base)"),
            ("failed", sum(failed.values()), _reasons(failed), "var(--cand)"),
            ("missing", account["missing"], "", "var(--bad)"),
        ]
    )
    missing = f'<p class="bad">{account["missing"]:,} events are not done yet.</p>' if account["missing"] else ""
    return bar + missing


def _lead(facts: Facts) -> str:
    """What the agreement comes to, in a sentence."""
    candidate, baseline = facts["agreement"]["outcome"], facts["baseline"]["outcome"]
    if candidate is None:
        return ""
    if baseline is None:
        noise = "No baseline was run, so how much of the rest is noise is not known."
    elif candidate["high"] < baseline["low"]:
        noise = f"The unchanged version does so in {percent(baseline)}: the candidate differs by more than noise."
    else:
        noise = f"The unchanged version does so in {percent(baseline)}: the intervals overlap, so this may be noise."
    return f'<p class="lead">The candidate ends as live did in {percent(candidate)} of {candidate["n"]:,} events. {noise}</p>'


def _transitions(facts: Facts) -> str:
    field = facts["outcome_field"]
    what = f"the outcome is the field <code>{text(field)}</code>, or the error" if field else "completed, or the error"
    counts = {(one["live"], one["shadow"]): one["count"] for one in facts["transitions"]}
    note = f'<p class="soft">Here {what}. Colour: share of the row.</p>'
    return f"<h2>Outcomes</h2>{note}{matrix(counts)}{_sessions(facts['sessions'])}"


def _sessions(sessions: Facts | None) -> str:
    if sessions is None:
        return ""
    several = sessions["of_several_keys"]
    split = f" {several:,} sessions have several keys, each with a conversation of its own." if several else ""
    return (
        f'<p class="soft">{sessions["turns"]:,} turns in {sessions["conversations"]:,} conversations of {sessions["sessions"]:,} '
        f"sessions; {sessions['from_live']:,} began with what live runs had left, the others with nothing.{split}</p>"
    )


def _agreement(facts: Facts) -> str:
    rows = []
    sides = (("candidate", facts["agreement"], "var(--cand)"), ("baseline", facts["baseline"], "var(--base)"))
    for what in ("outcome", "output"):
        for name, side, colour in sides:
            if interval := side[what]:
                words = Html(f'<span class="num">{percent(interval)} of {interval["n"]:,}</span>')
                rows.append((f"{name}, same {what}", Html(share_bar(interval, colour)), words))
    if rows:
        rows.append(("", Html(shares_axis()), Html("")))
    note = "With live; 95 % intervals. The baseline is the unchanged version over a sample: where it differs, that is noise."
    return f'<h2>Agreement</h2><p class="soft">{note}</p>{table(("", "share", ""), rows)}'


def _evaluators(facts: Facts) -> str:
    return evaluators(facts["evaluators"])


def _deltas(facts: Facts) -> str:
    rows = []
    for one in facts["deltas"]:
        difference, live = one["difference"], one["live"]
        relative = f" ({difference['value'] / live:+.1%})" if live else ""
        words = f'<span class="num"><b>{signed(difference["value"])}</b>{relative}</span>'
        means = Html(f'<span class="num">{number(live)} → {number(one["shadow"])}</span>')
        spread = Html(boxes(one["spread"]["live"], one["spread"]["shadow"]))
        rows.append((_UNITS.get(one["name"], one["name"]), spread, means, Html(f"{interval_plot(difference)}{words}")))
    key = (
        '<span class="key" style="background:var(--live)"></span>live'
        '<span class="key" style="background:var(--cand)"></span>candidate'
    )
    note = (
        f"{key}. Of events that have a live run. Boxes: 5, 25, 50, 75 and 95 %; the difference of each pair, its mean and 95 % "
        "interval. A replay's time is without tools and queues."
    )
    columns = ("", "spread", "mean", "difference by event")
    return f'<h2>Cost, tokens, time</h2><p class="soft">{note}</p><div class="wide">{table(columns, rows)}</div>'


def _fields(facts: Facts) -> str:
    rows = []
    for one in facts["fields"]:
        differ = share(one["differ"], one["compared"])
        bar = Html(share_bar(differ._asdict()) if differ else "")
        words = Html(f'<span class="num">{one["differ"]:,} of {one["compared"]:,}</span>')
        rows.append((code(one["field"]), bar, words, Html(_examples(one["examples"]))))
    note = "Of the pairs that both have an output: how often the field differs."
    table_ = table(("field", "differs", "", "live → shadow"), rows)
    return f'<h2>Fields of the output</h2><p class="soft">{note}</p><div class="wide">{table_}</div>'


def _examples(examples: list[Facts]) -> str:
    """The first one, and the others behind a click."""
    lines = [f"{code(one['live'])} → {code(one['shadow'])}" for one in examples]
    more = f"<details><summary>{len(lines) - 1} more</summary>{'<br>'.join(lines[1:])}</details>" if lines[1:] else ""
    return "".join(lines[:1]) + more


def _worst(facts: Facts) -> str:
    rows = []
    for one in facts["worst"]:
        runs = (
            code(f"headrace runs diff {one['live_run']} {one['shadow_run']}")
            if one["live_run"]
            else code(one["shadow_run"])
        )
        ended = text(one["live_outcome"])
        if one["live_outcome"] != one["shadow_outcome"]:
            ended += f" → <b>{text(one['shadow_outcome'])}</b>"
        rows.append((one["event_type"], Html(ended), ", ".join(one["fields"]), runs))
    columns = ("event", "outcome", "fields that differ", "both runs")
    return f'<h2>What differs most</h2><div class="wide">{table(columns, rows)}</div>'


def _plan(facts: Facts) -> str:
    plan = text(json.dumps(facts["replay"], indent=2, ensure_ascii=False))
    shown = f"<details><summary>range, definitions, choice</summary><pre><code>{plan}</code></pre></details>"
    return f"<h2>The replay</h2>{_read(facts['read'])}{shown}"


def _read(read: Facts) -> str:
    topics = ", ".join(f"{text(topic)} {size:,}" for topic, size in read["topics"].items())
    return f'<p class="soft">{read["bytes"]:,} bytes of records read: {topics or "none"}.</p>'


def _reasons(counts: dict[str, int]) -> str:
    return f"({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else "the oldest"

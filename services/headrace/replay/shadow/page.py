"""The report as one HTML file that needs nothing else: no script, no font, no request. Everything from outside is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from headrace.replay.shadow.markup import Html, code, table, text
from headrace.replay.shadow.page_evaluators import evaluators
from headrace.replay.shadow.plots import interval_plot, matrix, share_bar

Facts = dict[str, Any]
_STYLE: Final = """
:root{--ink:#1b2733;--soft:#5c6b7a;--line:#d8dee5;--field:#f5f7f9;--a:#2166ac;--b:#b35806}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);max-width:1000px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
p{margin:.3rem 0}.soft{color:var(--soft)}table{border-collapse:collapse;font-size:.9rem;margin:.4rem 0}
th,td{padding:.25rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.85em;overflow-wrap:anywhere}
.sum{display:flex;gap:1rem;flex-wrap:wrap;margin:1rem 0}.sum div{background:var(--field);padding:.6rem 1rem;border-radius:6px}
.sum b{display:block;font-size:1.3rem}svg{max-width:100%;height:auto}.bad{color:#b2182b}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b5;--line:#36414c;--field:#1f2831;--a:#6baed6;--b:#fdae6b}
body{background:#141a20}}
"""


def page(facts: Facts) -> str:
    """One HTML document of ``report.report``'s facts."""
    title = f"Shadow replay {facts['replay']['id']}"
    parts = (
        _head(facts),
        _summary(facts),
        _transitions(facts),
        _agreement(facts),
        _deltas(facts),
        evaluators(facts["evaluators"]),
        _fields(facts),
        _worst(facts),
        _plan(facts),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(facts: Facts) -> str:
    replay = facts["replay"]
    live, candidate = replay["live"], replay["candidate"]
    return (
        f"<h1>{text(replay['agent'])}: {text(live['version'])} → {text(candidate['version'])}</h1>"
        f'<p class="soft">Shadow replay {text(replay["id"])}, events from {_time(replay["from_ms"])} to '
        f"{_time(replay['to_ms'])}; model {text(live['model'])} → {text(candidate['model'])}</p>"
    )


def _summary(facts: Facts) -> str:
    account, cost = facts["account"], facts["cost"]
    agreed = facts["agreement"]["outcome"]
    boxes = [
        (f"{account['records']:,}", "events in the range"),
        (f"{account['replayed']:,}", "replayed"),
        (f"{sum(account['skipped'].values()):,}", f"skipped {_reasons(account['skipped'])}"),
        (f"{sum(account['failed'].values()):,}", f"failed {_reasons(account['failed'])}"),
        ("-" if agreed is None else f"{agreed['value']:.1%}", "same outcome as live"),
        (f"${cost['replay_usd']:.4f}", f"spent; live ${cost['live_usd']:.4f}"),
    ]
    missing = f'<p class="bad">{account["missing"]:,} events are not done yet.</p>' if account["missing"] else ""
    if account["answered_live"]:
        boxes.append((f"{account['answered_live']:,}", "tool calls answered live"))
    shown = "".join(f"<div><b>{text(value)}</b>{text(name)}</div>" for value, name in boxes)
    return f'<div class="sum">{shown}</div>{missing}'


def _transitions(facts: Facts) -> str:
    field = facts["outcome_field"]
    what = f"the outcome is the field <code>{text(field)}</code>, or the error" if field else "completed, or the error"
    counts = {(one["live"], one["shadow"]): one["count"] for one in facts["transitions"]}
    return f'<h2>Outcomes</h2><p class="soft">Rows: live. Columns: shadow. Here {what}.</p>{matrix(counts)}'


def _agreement(facts: Facts) -> str:
    rows = []
    for name, side in (("candidate and live", facts["agreement"]), ("baseline and live", facts["baseline"])):
        for what in ("outcome", "output"):
            if interval := side[what]:
                rows.append((name, f"same {what}", interval["n"], Html(share_bar(interval))))
    note = (
        "The baseline is the unchanged version, run again over a sample: where it differs from live, that is noise."
        if facts["baseline"]["outcome"]
        else "No baseline was run, so how much of this is noise is not known."
    )
    return f'<h2>Agreement</h2><p class="soft">{note}</p>{table(("", "", "pairs", "share, 95 % interval"), rows)}'


def _deltas(facts: Facts) -> str:
    rows = [
        (one["name"], f"{one['live']:.6g}", f"{one['shadow']:.6g}", Html(interval_plot(one["difference"])))
        for one in facts["deltas"]
    ]
    note = "Means over events that have a live run; the difference with its 95 % interval."
    return f'<h2>Cost, tokens, time</h2><p class="soft">{note}</p>{table(("", "live", "shadow", "difference"), rows)}'


def _fields(facts: Facts) -> str:
    rows = []
    for one in facts["fields"]:
        lines = "<br>".join(f"{code(example['live'])} → {code(example['shadow'])}" for example in one["examples"])
        rows.append((Html(code(one["field"])), one["compared"], one["differ"], Html(lines)))
    return f"<h2>Fields of the output</h2>{table(('field', 'compared', 'differ', 'examples'), rows)}"


def _worst(facts: Facts) -> str:
    rows = [
        (
            one["event_type"],
            one["live_outcome"],
            one["shadow_outcome"],
            ", ".join(one["fields"]),
            Html(f"{code(one['live_run'] or '-')}<br>{code(one['shadow_run'])}"),
        )
        for one in facts["worst"]
    ]
    columns = ("event", "live", "shadow", "fields that differ", "runs: live, shadow")
    return f"<h2>What differs most</h2>{table(columns, rows)}"


def _plan(facts: Facts) -> str:
    return f"<h2>The replay</h2><pre><code>{text(json.dumps(facts['replay'], indent=2))}</code></pre>"


def _reasons(counts: dict[str, int]) -> str:
    return f"({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")

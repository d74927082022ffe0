"""What ``headrace replay shadow`` shows: what it is about to do, and the report in short."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from headrace.cli.output import print_table
from headrace.cli.replay_evaluators import show_evaluators
from headrace.replay.shadow.estimate import Estimate
from headrace.replay.shadow.plan import ShadowPlan
from headrace.replay.shadow.plots import signed
from headrace.replay.shadow.range import Forecast

_SHOWN = 10


def show_forecast(plan: ShadowPlan, expected: Forecast, about: Estimate, *, data: bool) -> None:
    """On stdout where it is the command's ``data``, else beside it."""
    to: TextIO = sys.stdout if data else sys.stderr
    skipped = ", ".join(f"{count:,} by {reason}" for reason, count in sorted(expected.skipped.items())) or "none"
    lines = (
        f"replay {plan.replay_id}: {plan.agent} {plan.live.version} (live) against {plan.candidate.version}",
        f"{expected.total:,} events in the range; {expected.chosen:,} to replay, {expected.baseline:,} of them as baseline too; "
        f"skipped: {skipped}; unreadable: {expected.undecodable:,}",
        f"models that cost money: {about.paid or 'none'}; about ${about.cost_usd:.4f}, by {about.live_runs:,} live runs "
        f"(cap ${plan.max_cost_usd:g})",
    )
    print("\n".join(lines), file=to, flush=True)


def show_report(facts: dict[str, Any]) -> None:
    account = facts["account"]
    skipped, failed = sum(account["skipped"].values()), sum(account["failed"].values())
    print(
        f"{account['records']:,} events = {account['replayed']:,} replayed + {skipped:,} skipped + {failed:,} failed"
        + (f" + {account['missing']:,} missing" if account["missing"] else "")
    )
    for name, reasons in (("skipped", account["skipped"]), ("failed", account["failed"])):
        if reasons:
            print(f"  {name}: {', '.join(f'{count:,} {reason}' for reason, count in reasons.items())}")
    if account["answered_live"]:
        print(f"  answered live: {account['answered_live']:,} tool calls")
    print()
    print_table(
        ("live", "shadow", "events"), [tuple(one.values()) for one in facts["transitions"]], empty="no outcomes"
    )
    print()
    for side, name in (("agreement", "candidate"), ("baseline", "baseline")):
        for what in ("outcome", "output"):
            if interval := facts[side][what]:
                print(f"{name}: same {what} as live in {_share(interval)}")
    print()
    print_table(
        ("", "live", "shadow", "difference (95 %)"),
        [(one["name"], one["live"], one["shadow"], _difference(one["difference"])) for one in facts["deltas"]],
        empty="no live runs to compare with",
    )
    if differing := [one for one in facts["fields"] if one["differ"]]:
        print()
        rows = [(one["field"], one["compared"], one["differ"], one["examples"][:1]) for one in differing[:_SHOWN]]
        print_table(("field", "compared", "differ", "example"), rows, spare=("example",))
    if sessions := facts["sessions"]:
        print(
            f"\n{sessions['turns']:,} turns of {sessions['conversations']:,} conversations in {sessions['sessions']:,} sessions; "
            f"{sessions['from_live']:,} began from live ones"
        )
    show_evaluators(facts["evaluators"])
    print(f"\nspent ${facts['cost']['replay_usd']:.4f}; read {facts['read']['bytes'] / 1e6:,.1f} MB of records")


def _share(interval: dict[str, Any]) -> str:
    return f"{interval['value']:.1%} of {interval['n']:,} ({interval['low']:.1%} to {interval['high']:.1%})"


def _difference(interval: dict[str, Any]) -> str:
    if interval["low"] is None:
        return signed(interval["value"])
    return f"{signed(interval['value'])} ({signed(interval['low'])} to {signed(interval['high'])})"

"""What the demo shows at its end: what went to audit, verified, and what analytics made of it."""

from __future__ import annotations

import asyncio
import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.audit.verify import verify
from headrace.cli.output import stop
from headrace.cli.tables import printable
from headrace.index import UsageIndex, UsageView
from headrace.messages.errors import DependencyUnavailable
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

_SINCE = "1h"
_PATIENCE_S = 60.0


async def counted(settings: MeshSettings) -> int:
    """Runs of the last hour that analytics has counted."""
    return sum(one.runs for one in await _usage(settings))


async def show_accounts(console: Console, settings: MeshSettings, expected: int) -> None:
    """Wait until ``expected`` runs are counted, then show the audit log's state and the usage by agent.

    Raises:
        DependencyUnavailable: they are not counted in time.
        Exit: a chain of the audit log is broken.
    """
    usage = await _await_usage(settings, expected)
    report = await verify(settings)
    if report.broken:
        raise stop(f"{len(report.broken)} of {len(report.chains)} chains of the audit log are broken", 1)
    console.print(
        f"\naudit: {report.entries} entries, one for each record of every topic, in {len(report.chains)} hash chains; "
        f"[green]verified, all whole[/green] (headrace audit verify)"
    )
    table = Table(title="usage (headrace usage)")
    for title in ("agent", "runs", "failed", "tokens", "cost $", "p50 ms", "p95 ms"):
        table.add_column(title, justify="left" if title == "agent" else "right")
    for one in usage:
        tokens = one.input_tokens + one.output_tokens
        latency = (_whole(one.latency_p50_ms), _whole(one.latency_p95_ms))
        cells = (escape(printable(one.agent_name)), one.runs, one.failed, tokens, f"{one.cost_usd:.4f}", *latency)
        table.add_row(*map(str, cells))
    console.print(table)


async def _await_usage(settings: MeshSettings, expected: int) -> list[UsageView]:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        usage = await _usage(settings)
        found = sum(one.runs for one in usage)
        if found >= expected:
            return usage
        if time.monotonic() > deadline:
            raise DependencyUnavailable(f"analytics counted {found} of {expected} runs within {_PATIENCE_S:.0f} s")
        await asyncio.sleep(0.2)


async def _usage(settings: MeshSettings) -> list[UsageView]:
    async with open_pool(settings, max_size=1) as pool:
        return list((await UsageIndex(pool).usage(settings.tenant, agent=None, since=_SINCE, window=None)).usage)


def _whole(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.0f}"

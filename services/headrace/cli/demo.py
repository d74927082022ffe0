"""``headrace demo``: the main job from end to end, on real servers, with what came of it on the screen."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.accounts import counted, show_accounts
from headrace.cli.output import stop
from headrace.cli.sending import send_sample
from headrace.cli.start import interruptible, start_detached
from headrace.cli.tables import printable
from headrace.cli.target import Target, gateway_client, run_async
from headrace.local import control
from headrace.local.guard import Guard
from headrace.local.ports import free_port
from headrace.local.state import read_state
from headrace.messages.errors import DependencyUnavailable
from headrace.samples import Sample, samples

_PATIENCE_S = 180.0
_RETRIES_S = 30.0
_RUN_ID = 36  # characters: an id that is folded can't be copied
_NOWHERE = Target()


def demo(*, target: Target = _NOWHERE, keep: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Start a mesh, send it signed webhooks and events of many kinds, and show what the agents made of them.

    Uses a mesh that is up on the data directory; otherwise starts one of its own and leaves nothing running. With
    ANTHROPIC_API_KEY or OPENAI_API_KEY set (ANTHROPIC_BASE_URL, OPENAI_BASE_URL), the agents use that model; without, the rules of
    the `offline` model, which says so. Exits with 1 if a run failed or did not finish.

    Example: `headrace demo --keep`

    Parameters
    ----------
    keep
        Leave the demo's own mesh running.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE)
    started = time.monotonic()
    state = read_state(target.data)
    if state is not None and state.alive and state.phase in ("ready", "degraded"):
        console.print(f"using the mesh that is up on {target.data}")
        runs = run_async(_play(console, target))
        keep = True
    else:
        with own_mesh(keep) as own:
            console.print(f"[bold]the mesh is up[/bold] after {time.monotonic() - started:.1f} s\n")
            runs = run_async(_play(console, own))
            if keep:
                console.print(f"\nleft running: headrace status --data {own.data}; headrace down --data {own.data}")
    _next_steps(console, running=keep)
    if failed := [run for run in runs if run["state"] != "completed"]:
        raise stop(f"{len(failed)} runs did not complete", 1)


@contextmanager
def own_mesh(keep: bool) -> Iterator[Target]:
    """A mesh on a directory of its own and free ports; gone afterwards unless ``keep``."""
    data = Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    with interruptible(), closing(Guard()) as guard:
        pid = 0
        try:
            pid = start_detached(data, free_port()).pid
            guard.watch(pid, signal.SIGTERM)  # even a SIGKILL of the demo takes its mesh along
            yield Target(data)
        except BaseException:
            keep = False
            raise
        finally:
            if not keep:
                control.down(data)
                shutil.rmtree(data, ignore_errors=True)
            guard.forget(pid)


async def _play(console: Console, target: Target) -> list[dict[str, Any]]:
    """Send the samples, watch the runs, show them. The finished runs as the gateway tells them."""
    settings = target.settings()
    batch = samples(secrets.token_hex(4))
    expected = sum(sample.runs for sample in batch)
    async with gateway_client(target.gateway_url()) as client:
        known = {run["run_id"] for run in await _runs(client)}
        counted_before = await counted(settings)
        sent = time.monotonic()
        for sample in batch:
            response = await _deliver(console, client, sample, target.data)
            if response.status_code != 202:
                raise stop(f"{sample.name}: the gateway answered {response.status_code}: {response.text[:300]}", 1)
        kinds = sorted({sample.kind for sample in batch})
        seconds = time.monotonic() - sent
        console.print(
            f"sent {len(batch)} signed webhooks and events in {seconds:.2f} s, of the kinds {', '.join(kinds)}\n"
        )
        runs = await _watch(console, client, known, expected)
    _show(console, runs)
    await show_accounts(console, settings, counted_before + len(runs))
    return runs


async def _deliver(console: Console, client: Any, sample: Sample, data: Path) -> Any:
    """Send it again while the gateway says that Kafka is away, as a sender of webhooks would."""
    deadline = time.monotonic() + _RETRIES_S
    while True:
        response = await send_sample(client, sample, data)
        if response.status_code != 503 or time.monotonic() > deadline:
            return response
        console.print(f"{escape(sample.name)}: the gateway answered 503, Kafka is away: sending it again")
        await asyncio.sleep(1)


async def _runs(client: Any) -> list[dict[str, Any]]:
    response = await client.get("/v1/runs", params={"limit": 200})
    if response.status_code == 503:
        return []  # the index is not there yet
    response.raise_for_status()
    runs: list[dict[str, Any]] = response.json()["runs"]
    return runs


async def _watch(console: Console, client: Any, known: set[str], expected: int) -> list[dict[str, Any]]:
    """Print each run as it finishes, until all have."""
    deadline = time.monotonic() + _PATIENCE_S
    finished: dict[str, dict[str, Any]] = {}
    while len(finished) < expected:
        for run in reversed(await _runs(client)):
            if run["run_id"] not in known | finished.keys() and run["state"] in ("completed", "failed"):
                finished[run["run_id"]] = run
                _print_finished(console, run, len(finished), expected)
        if time.monotonic() > deadline:
            raise DependencyUnavailable(f"only {len(finished)} of {expected} runs finished within {_PATIENCE_S:.0f} s")
        await asyncio.sleep(0.1)
    return list(finished.values())


def _print_finished(console: Console, run: dict[str, Any], number: int, expected: int) -> None:
    mark = "[green]✓[/green]" if run["state"] == "completed" else "[red]✗[/red]"
    line = f"{number:>3}/{expected}  {run['event_type'] or '-'} → {run['agent_name']}  {run['latency_ms']} ms"
    console.print(f"{mark} {escape(printable(line))}")


_Column = tuple[str, Callable[[dict[str, Any]], str]]
_PIPE = 180
_WIDE = 120  # columns of a terminal that has room for one cell a fact; a pipe has room for all
_COLUMNS: tuple[_Column, ...] = (
    ("event", lambda run: f"{run['event_type']}\n{run['event_subject'] or run['event_source'] or ''}"),
    ("agent", lambda run: f"{run['agent_name']}\n{run['agent_version']}"),
    ("outcome", lambda run: _outcome(run)),
    ("run", lambda run: str(run["run_id"])),
    ("ms", lambda run: str(run["latency_ms"])),
    ("model", lambda run: str(run["model"])),
    ("tokens", lambda run: str(run["usage"]["input_tokens"] + run["usage"]["output_tokens"])),
    ("cost $", lambda run: f"{run['usage']['cost_usd']:.4f}"),
)
_NARROW_COLUMNS: tuple[_Column, ...] = (
    ("event, agent, run, latency, model, tokens, cost", lambda run: _facts(run)),
    ("outcome", lambda run: _outcome(run)),
)


def _facts(run: dict[str, Any]) -> str:
    """All columns but the outcome, below each other."""
    event, agent, _, number, latency, model, tokens, cost = (show(run) for _, show in _COLUMNS)
    agent = agent.replace("\n", "@")
    return f"{event}\n{agent}\n{number}\n{latency} ms, {model}, {tokens} tokens, ${cost}"


def _outcome(run: dict[str, Any]) -> str:
    outcome = run["outcome"]
    if not isinstance(outcome, dict):
        return str((run["error"] or {}).get("message", outcome))
    head = f"{outcome.get('class', '?')} · risk {outcome.get('risk', '?')}"
    actions = "".join(f"\n• {action}" for action in outcome.get("recommended_actions") or [])
    return f"{head}\n{outcome.get('summary', '')}{actions}"


def _show(console: Console, runs: list[dict[str, Any]]) -> None:
    table = Table(title="what the agents said", show_lines=True)
    columns = _COLUMNS if console.width >= _WIDE else _NARROW_COLUMNS
    for title, _ in columns:
        whole = title == "run" or (columns is _NARROW_COLUMNS and title != "outcome")
        table.add_column(
            title, overflow="fold", min_width=_RUN_ID if whole else None, ratio=4 if title == "outcome" else None
        )
    for run in sorted(runs, key=lambda run: (str(run["event_type"]), str(run["run_id"]))):
        table.add_row(*(escape(printable(show(run))) for _, show in columns))
    console.print(table)
    latencies = sorted(run["latency_ms"] or 0 for run in runs)
    models = sorted({str(run["model"]) for run in runs})
    cost = sum(run["usage"]["cost_usd"] for run in runs)
    console.print(
        f"\n{len(runs)} runs, each once; end to end median {latencies[len(latencies) // 2]} ms, slowest {latencies[-1]} ms; "
        f"model {', '.join(models)}; cost ${cost:.4f}"
    )
    if models == ["offline"]:
        console.print(
            "[yellow]offline[/yellow] is a set of rules for trying the mesh, not a language model: set ANTHROPIC_API_KEY or "
            "OPENAI_API_KEY and run this again."
        )


def _next_steps(console: Console, *, running: bool) -> None:
    console.print("\nwhat to try next" if running else "\nwhat to try next (nothing is left running)")
    for command, what in (
        ("headrace up --detach", "a mesh that stays, on port 8080"),
        ("headrace events send --sample --only alert", "send some of these again"),
        ("headrace results tail --from-beginning", "read the results topic"),
        ("headrace runs list", "all runs"),
        ("headrace runs show RUN", "every record of a run"),
        ("headrace agents show pr-risk-reviewer", "an agent, to change and publish"),
        ("headrace audit list RUN", "what the audit log has of it"),
        ("headrace dlq list", "what failed, and why"),
    ):
        console.print(f"  {command:<44} {what}", markup=False)

"""``headrace replay demo``: a history of events, a version that is live, and what another one would have said about all of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
import orjson
import yaml
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.cli.demo import own_mesh
from headrace.cli.output import stop
from headrace.cli.picture import picture_of
from headrace.cli.target import Target, gateway_client, run_async
from headrace.messages.errors import DependencyUnavailable
from headrace.postgres.pool import open_pool
from headrace.registry.load import load_text
from headrace.registry.publish import publish
from headrace.runtime.meter import size_of
from headrace.runtime.scan import Scan
from headrace.samples.tickets import AGENT, CANDIDATE, LIVE, definition_text, is_live, model_text, tickets
from headrace.settings import MeshSettings
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator

_NAME: Final = "demo"
_BATCH: Final = 100
_STALLED_S: Final = 120.0
_READ: Final = ("ingest.events", "tool.calls", "tool.results", "agent.results")  # by a shadow
_FINISHED: Final = "SELECT count(*) FROM runs WHERE agent_name = $1 AND state IN ('completed', 'failed')"
Count = Annotated[int, Parameter(validator=Number(gte=20, lte=100_000))]


class Lived(NamedTuple):
    """What went on live: from which moment on, how many runs, and the seconds from the first event to the last result."""

    since: str
    runs: int
    seconds: float


def demo(*, events: Count = 5_000, out: Path = Path("replay-demo")) -> None:
    """Run a mesh with a version of an agent over thousands of events, and then a shadow of another version over the same ones.

    The mesh is one of its own and leaves nothing running; the model is a simulator, so it needs no key and costs nothing, whatever
    the report says of dollars. At the end: the report's page, a picture of it where Chromium is installed, and how fast it all was.

    Example: `headrace replay demo --events 1000`

    Parameters
    ----------
    events
        How many.
    out
        Folder for the report.
    """
    console = Console(highlight=False, soft_wrap=True)
    script = Script.model_validate(yaml.safe_load(model_text()))
    with Simulator(script, keep=0) as model, _asking(model), own_mesh(keep=False) as target:
        settings = target.settings()
        lived = run_async(_live(console, target, settings, events))
        began = time.monotonic()
        _command(target, "shadow", "--agent", AGENT, "--version", CANDIDATE, "--from", lived.since, *_options(out))
        shadow_s = time.monotonic() - began
        _command(target, "run", "--all", "--agent", AGENT)
        read = run_async(_bytes_of(settings))
    _told(console, lived, shadow_s, read, out / f"{_NAME}.json")
    page = out / f"{_NAME}.html"
    picture = picture_of(page, out / f"{_NAME}.png")
    console.print(f"\nthe report: {page}" + (f", and as a picture: {picture}" if picture else ""))


def _options(out: Path) -> tuple[str, ...]:
    return "--name", _NAME, "--out", str(out), "--max-cost", "10", "--yes"  # what nobody is paid


@contextmanager
def _asking(model: Simulator) -> Iterator[None]:
    """Whatever is started here asks the simulator."""
    given = {"OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": model.openai_base_url}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# --- the history ---------------------------------------------------------------------------------------------------------


async def _live(console: Console, target: Target, settings: MeshSettings, events: int) -> Lived:
    """Both versions are published and one of them is live; all events are sent, and their runs have ended."""
    await publish(settings, [load_text(definition_text(LIVE))], who=_NAME)
    await publish(settings, [load_text(definition_text(CANDIDATE))], live=False, who=_NAME)
    console.print(f"{AGENT} {LIVE} is live; {CANDIDATE} is published, with another prompt and another trigger")
    async with open_pool(settings, min_size=1, max_size=1) as pool, gateway_client(target.gateway_url()) as client:
        before = await _known(client, pool)
        since = datetime.now(UTC).isoformat()
        all_tickets = list(tickets(events))
        runs = sum(map(is_live, all_tickets))
        began = time.monotonic()
        sending = asyncio.create_task(_send(client, all_tickets))
        await _ended(pool, before, runs)
        await sending
        return Lived(since, runs, time.monotonic() - began)


async def _known(client: Any, pool: asyncpg.Pool) -> int:
    """Send tickets until one is answered: from then on ingest knows the agent. How many runs that made."""
    for number in range(60):
        await _post(client, [{"number": -number, "title": "Are you there?", "customer": "nobody", "plan": "paid"}])
        await asyncio.sleep(1)
        if await pool.fetchval(_FINISHED, AGENT):
            return await _settled(pool)
    raise DependencyUnavailable(f"{AGENT} answers nothing")


async def _settled(pool: asyncpg.Pool) -> int:
    """How many runs there are, once they don't get more."""
    found = -1
    while (now := int(await pool.fetchval(_FINISHED, AGENT))) != found:
        found = now
        await asyncio.sleep(1)
    return found


async def _send(client: Any, all_tickets: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(all_tickets), _BATCH):
        await _post(client, all_tickets[start : start + _BATCH])


async def _post(client: Any, batch: Sequence[dict[str, Any]]) -> None:
    body = orjson.dumps([_event(ticket) for ticket in batch])
    answer = await client.post("/events", content=body, headers={"content-type": "application/cloudevents-batch+json"})
    if answer.status_code != 202:
        raise stop(f"the gateway answered {answer.status_code}: {answer.text[:300]}", 1)


def _event(ticket: dict[str, Any]) -> dict[str, Any]:
    name, whose = f"ticket-{ticket['number']}", ticket["customer"]
    kind = {"specversion": "1.0", "source": "shop", "type": "ticket.created"}
    return {**kind, "id": name, "subject": whose, "datacontenttype": "application/json", "data": ticket}


async def _ended(pool: asyncpg.Pool, before: int, runs: int) -> None:
    columns = (TextColumn("live"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=runs)
        done, moved = 0, time.monotonic()
        while done < runs:
            await asyncio.sleep(0.25)
            if (now := int(await pool.fetchval(_FINISHED, AGENT)) - before) > done:
                done, moved = now, time.monotonic()
                bars.update(task, completed=done)
            elif time.monotonic() - moved > _STALLED_S:
                raise DependencyUnavailable(f"{done} of {runs} runs ended, and no more since {_STALLED_S:.0f} s")


# --- what is made of it --------------------------------------------------------------------------------------------------


def _command(target: Target, *arguments: str) -> None:
    """``headrace replay`` as anybody would call it, on the demo's mesh. Ends the demo where it fails."""
    command = [sys.executable, "-m", "headrace", "replay", *arguments, "--data", str(target.data)]
    done = subprocess.run(command)  # noqa: S603 (our own command line)
    if done.returncode:
        raise stop(f"headrace replay {arguments[0]} ended with {done.returncode}", done.returncode)


async def _bytes_of(settings: MeshSettings) -> Counter[str]:
    """The size of what a shadow reads, by topic: keys, values and headers of the records, uncompressed."""
    sizes: Counter[str] = Counter()
    async with Scan(settings, _READ) as scan:
        async for batch in scan:
            for record in batch:
                sizes[record.topic] += size_of(record.key, record.value, record.headers)
    return sizes


def _told(console: Console, lived: Lived, shadow_s: float, read: Counter[str], report: Path) -> None:
    facts = orjson.loads(report.read_bytes())
    account = facts["account"]
    baseline = facts["baseline"]["outcome"]["n"] if facts.get("baseline") else 0
    runs = account["replayed"] + baseline
    parts = ", ".join(f"{topic} {size / 1e6:.1f}" for topic, size in sorted(read.items()))
    console.print(
        f"\nlive    {lived.runs:,} runs in {lived.seconds:.1f} s, {lived.runs / lived.seconds:,.0f} runs/s, "
        f"from the first event to the last result\n"
        f"shadow  {runs:,} runs in {shadow_s:.1f} s, {runs / shadow_s:,.0f} runs/s, all told: start, account and report\n"
        f"read    {sum(read.values()) / 1e6:.1f} MB of records ({parts})"
    )

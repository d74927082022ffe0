"""A rebuild at full size: results and their audit made again from every kind of start, and equal to what was there, byte for byte.

    python -m benchmarks.rebuild [--runs 200000] [--json FILE]

``--runs`` invocations of one turn (five records each, 1,000 keys) are written to their topics and filed by persistence and audit.
Then the index is rebuilt from the earliest record, from a time, from an offset in all partitions and from one in a single
partition, made again beside the live one, and audit reads everything again. After each, all rows of the index (or entries of the
log) have to have the count and the digest that they had. Bytes are those of the records on the topics; memory is the highest
resident size of the command.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from benchmarks.accounts import of_service, spread
from tests.replay.mesh import runs as records_of
from tests.replay.mesh import write
from tests.support.mesh import Mesh, running_mesh
from tests.support.stack import fresh_database

from headrace.local.stack import Stack
from headrace.messages.replay import ReplayAction
from headrace.pipeline import STAGES
from headrace.replay.ledger import INDEX_TABLES
from headrace.runtime.ranges import Ranges
from headrace.runtime.scan import Scan
from headrace.settings import MeshSettings

BATCH = 5_000  # runs written at a time
Digest = tuple[int, str]


async def written(settings: MeshSettings, runs: int) -> datetime:
    """All records; the time at which half of them were there."""
    half = datetime.now(UTC)
    for first in range(0, runs, BATCH):
        if first <= runs // 2:
            half = datetime.now(UTC)
        await write(settings, spread(records_of(first, min(BATCH, runs - first))), commit_every=1_000)
    return half


async def index(url: str) -> dict[str, Digest]:
    """Count and digest of each table, whatever the order of its rows."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*), bit_xor(hashtextextended(t::text, 0)) FROM {} t"
    try:
        return {
            name: (row[0], f"{row[1]:x}") for name in INDEX_TABLES for row in await connection.fetch(query.format(name))
        }
    finally:
        await connection.close()


async def log(settings: MeshSettings) -> tuple[Digest, int]:
    """Count and digest of the audit log in the order of each partition; and its bytes. Without the entries of replays, which each
    command here adds to."""
    partitions: dict[int, Any] = {}
    count = size = 0
    async with Scan(settings, ["audit.events"]) as scan:
        async for batch in scan:
            for record in batch:
                if (record.key or b"").startswith(ReplayAction.TOPIC.encode()):
                    continue
                partitions.setdefault(record.partition, hashlib.sha256()).update(record.value or b"")
                count, size = count + 1, size + len(record.value or b"")
    whole = "".join(partitions[number].hexdigest() for number in sorted(partitions))
    return (count, hashlib.sha256(whole.encode()).hexdigest()[:16]), size


async def bytes_of(settings: MeshSettings) -> int:
    """Of keys, values and headers that persistence reads."""
    size = 0
    async with Scan(settings, STAGES["persistence"].consumes) as scan:
        async for batch in scan:
            size += sum(
                len(one.key or b"") + len(one.value or b"") + sum(len(k) + len(v or b"") for k, v in one.headers)
                for one in batch
            )
    return size


def command(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """A ``headrace replay`` that has to end well: what it says, its seconds and its highest resident size in bytes."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "headrace", "replay", *arguments, "--json"]
    process = subprocess.Popen(argv, env=mesh.environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: ended with {os.waitstatus_to_exitcode(status)}")
    return orjson.loads(output) | {"took_s": time.perf_counter() - began, "rss": usage.ru_maxrss * 1_024}


def starts(settings: MeshSettings, half: datetime) -> dict[str, tuple[str, ...]]:
    """Every kind of start, with its options."""
    extents = Ranges(settings, "benchmark").extents(STAGES["persistence"].consumes)
    ends = {
        f"{topic}:{number}": end for topic, extent in extents.items() for number, (_, end) in extent.partitions.items()
    }
    halves = [f"{where}:{end // 2}" for where, end in ends.items()]
    one = max(ends, key=lambda where: ends[where])
    return {
        "--to-earliest, emptied": ("--to-earliest", "--empty-index", "--yes"),
        "--to-datetime (half)": ("--to-datetime", half.isoformat()),
        "--to-offset (half, all partitions)": ("--to-offset", *halves),
        f"--to-offset (one partition, {one})": ("--to-offset", f"{one}:0"),
    }


def measured(mesh: Mesh, url: str, runs: int, runner: asyncio.Runner) -> list[dict[str, Any]]:
    half = runner.run(written(mesh.settings, runs))
    for service in ("persistence", "audit"):
        seconds, _ = of_service(mesh, service)
        print(f"{service}, first time: {seconds:.0f} s", flush=True)
    before, (entries, log_bytes), size = (
        runner.run(index(url)),
        runner.run(log(mesh.settings)),
        runner.run(bytes_of(mesh.settings)),
    )
    print(
        f"{sum(count for count, _ in before.values()):,} rows, {entries[0]:,} entries; {size / 1e6:,.0f} MB of records",
        flush=True,
    )
    lines = []

    def note(what: str, found: dict[str, Any], records: int, seconds: float, *, equal: bool) -> None:
        line = {"what": what, "records": records, "seconds": round(seconds, 1), "took_s": round(found["took_s"], 1)}
        lines.append(
            line | {"records_per_s": round(records / seconds), "rss_mb": round(found["rss"] / 1e6), "equal": equal}
        )
        print(lines[-1], flush=True)

    def noted(what: str, found: dict[str, Any]) -> None:
        report = found.get("report", found)
        total = (
            found["records"]
            if "records" in found
            else sum(one["held"] for one in report["tables"] if one["table"] in ("run_steps", "events"))
        )
        note(what, found, total, report["seconds"], equal=runner.run(index(url)) == before)

    rebuild = ("rebuild", "--group", "persistence")
    for what, options in starts(mesh.settings, half).items():
        noted(what, command(mesh, *rebuild, *options, "--run"))
    noted("--beside, compared row by row", command(mesh, *rebuild, "--to-earliest", "--beside", "again"))
    audit = command(mesh, "rebuild", "--group", "audit", "--to-earliest", "--run")
    note(
        "audit --to-earliest",
        audit,
        audit["records"],
        audit["seconds"],
        equal=runner.run(log(mesh.settings)) == (entries, log_bytes),
    )
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=200_000)
    arguments.add_argument("--json", type=Path, help="write all figures there")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data, ExitStack() as exits:
        stack = Stack(Path(data))
        exits.callback(stack.stop)
        endpoints = stack.start()
        runner = exits.enter_context(asyncio.Runner())
        database = fresh_database(endpoints.database_url)
        exits.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        url = runner.run(database.__aenter__())
        mesh = exits.enter_context(running_mesh(endpoints, f"b{uuid.uuid4().hex[:8]}.", url, services=()))
        lines = measured(mesh, url, options.runs, runner)
    if options.json:
        options.json.write_bytes(orjson.dumps(lines, option=orjson.OPT_INDENT_2))
    if not all(line["equal"] for line in lines):
        raise SystemExit("what was made again is not what was there")


if __name__ == "__main__":
    main()

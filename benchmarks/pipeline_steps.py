"""Time and memory of 100,000 rows through five steps of ``execute_pipeline``, without Kafka or network.

    python benchmarks/pipeline_steps.py [--rows 100000] [--rounds 5] [--json FILE]

A round is a whole call of the tool: read the rows from the blob store (in memory), filter, sort, select, group, cut, and store the
result. Each round runs in a process of its own, so that the growth of its memory is that of one call: the peak of resident memory
during the call, less what was resident before (Linux only). Times are medians over the rounds; the steps' own time is told apart by
subtraction of a call with one step that does nothing.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.host.memory import settle_memory
from headrace.tools.api import ToolContext
from headrace.tools.pipeline.executor import ExecutePipeline, PipelineLimits
from headrace.tools.pipeline.jq.pool import JqPool

AIRLINES = ("Delta", "United", "JetBlue", "Spirit", "Alaska", "American")
STEPS: list[dict[str, Any]] = [
    {"step": "table_filter", "condition": {"field": "price", "op": "<", "value": 900}},
    {"step": "table_sort", "field": "price", "order": "asc"},
    {"step": "table_select", "fields": ["id", "airline", "price", "stops"]},
    {"step": "groupby", "by": ["airline", "stops"], "agg": "avg", "field": "price"},
    {"step": "top_k", "k": 10},
]
NOTHING: list[dict[str, Any]] = [{"step": "top_k", "k": 1}]
CONTEXT = ToolContext("default", "run", "agent", ("execute_pipeline",), (), "key", 60.0)


def rows(count: int) -> bytes:
    """Rows of six fields, some 95 bytes each; the same for each run."""
    dice = random.Random(7)
    return orjson.dumps(
        [
            {
                "id": number,
                "airline": dice.choice(AIRLINES),
                "price": round(dice.uniform(50, 1_000), 2),
                "stops": dice.randrange(3),
                "from": "NYC",
                "at": f"2026-01-{dice.randrange(1, 29):02}T{dice.randrange(24):02}:00:00Z",
            }
            for number in range(count)
        ]
    )


def resident(name: str) -> int:
    """``VmRSS`` or its peak ``VmHWM``, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def forget_the_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def call(data: bytes, count: int) -> dict[str, float]:
    blobs = MemoryBlobs()
    ref = await TenantBlobs(blobs, CONTEXT.tenant).put(data)
    async with GuardedClient(EgressPolicy()) as client, JqPool() as jq:
        tool = ExecutePipeline(
            client, blobs, jq, PipelineLimits(max_rows=max(count, 100_000), max_result_bytes=50_000_000)
        )

        async def timed(steps: list[dict[str, Any]]) -> float:
            begun = time.perf_counter()
            await tool.run({"session_id": "s", "pipeline": steps, "input_ref": ref}, CONTEXT)
            return (time.perf_counter() - begun) * 1e3

        settle_memory()
        forget_the_peak()
        before = resident("VmRSS")
        cpu = time.process_time()
        whole = await timed(STEPS)
        cpu = time.process_time() - cpu
        peak = resident("VmHWM")
        reading = await timed(NOTHING)
        return {
            "whole_ms": whole,
            "cpu_ms": cpu * 1e3,
            "steps_ms": whole - reading,
            "peak_mb": (peak - before) / 1e6,
            "input_mb": len(data) / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(call(sys.stdin.buffer.read(), given.rows))))
        return
    data = rows(given.rows)
    command = [sys.executable, __file__, "--one", "--rows", str(given.rows)]
    rounds = [orjson.loads(subprocess.check_output(command, input=data)) for _ in range(given.rounds)]
    figures = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(f"{given.rows:,} rows, {figures['input_mb']:.1f} MB of JSON, {len(STEPS)} steps, median of {given.rounds}")
    print(f"whole call   {figures['whole_ms']:>7.0f} ms, of which the steps {figures['steps_ms']:.0f} ms")
    print(f"processor    {figures['cpu_ms']:>7.0f} ms of this process")
    print(f"peak memory  {figures['peak_mb']:>7.0f} MB more")
    if given.json:
        given.json.write_bytes(orjson.dumps(figures))


if __name__ == "__main__":
    main()

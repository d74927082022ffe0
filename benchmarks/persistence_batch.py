"""Records per second that persistence writes, on a real Postgres, without Kafka.

    python benchmarks/persistence_batch.py [--runs 10000] [--turns 1] [--in-flight 2000]

Uses DATABASE_URL if it is set (tables of a scratch schema, dropped at the end), else a Postgres of its own with fsync on. Three
figures: the records of all runs for the first time, the same ones again (a rebuild over an index that is there), and the
first time one record at a time (latency).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvloop
from pydantic import SecretStr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.persistence.records import Record, a_run  # noqa: E402

from headrace.blobs.memory import MemoryBlobs  # noqa: E402
from headrace.local.guard import Guard  # noqa: E402
from headrace.local.ports import PortBook  # noqa: E402
from headrace.local.postgres import Postgres  # noqa: E402
from headrace.local.server import Site  # noqa: E402
from headrace.persistence.processor import PersistenceProcessor  # noqa: E402
from headrace.persistence.settings import PersistenceSettings  # noqa: E402
from headrace.postgres.migrate import migrate  # noqa: E402
from headrace.postgres.pool import open_pool  # noqa: E402
from headrace.settings import MeshSettings  # noqa: E402

SCHEMA = "headrace_benchmark"


@contextmanager
def database() -> Iterator[str]:
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    guard = Guard()
    server = Postgres(Site(folder, PortBook(folder / "ports.json"), guard))
    try:
        server.start()
        yield server.url
    finally:
        server.stop()
        guard.close()
        shutil.rmtree(folder)


async def drain(processor: PersistenceProcessor, records: Sequence[Record], in_flight: int) -> float:
    """Records a second with up to ``in_flight`` of them inside the processor, as the runtime keeps it."""
    source = iter(records)

    async def lane() -> None:
        for message, context in source:
            await processor.handle(message, context)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    return len(records) / (time.perf_counter() - begun)


async def measure(url: str, runs: int, turns: int, in_flight: int) -> dict[str, float]:
    separator = "&" if "?" in url else "?"
    settings = MeshSettings(database_url=SecretStr(f"{url}{separator}search_path={SCHEMA}"))
    records = [record for run in range(runs) for record in a_run(f"run-{run}", turns=turns, first_offset=run * 10)]
    async with open_pool(settings, service="headrace-benchmark") as pool:
        await pool.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            await migrate(pool)
            processor = PersistenceProcessor(pool, MemoryBlobs(), PersistenceSettings())
            cpu = time.process_time()
            rate = await drain(processor, records, in_flight)
            cpu = time.process_time() - cpu
            rows = sum([await pool.fetchval(f"SELECT count(*) FROM {t}") for t in ("runs", "run_steps", "events")])
            rows += await pool.fetchval("SELECT count(*) FROM agent_results")
            print(f"first time   {rate:>8,.0f} records/s  {rate * rows / len(records):>8,.0f} rows/s")
            print(f"             {cpu / len(records) * 1e6:>8,.0f} us of this process's CPU a record")
            again = await drain(processor, records, in_flight)
            print(f"again        {again:>8,.0f} records/s")
            single = []
            for message, context in a_run("single", turns=200, first_offset=10_000_000):
                begun = time.perf_counter()
                await processor.handle(message, context)
                single.append((time.perf_counter() - begun) * 1e3)
            print(f"one by one   {statistics.median(single):>8.2f} ms a record (median)")
            return {
                "first_time_per_second": rate,
                "again_per_second": again,
                "cpu_us_a_record": cpu / len(records) * 1e6,
                "one_by_one_ms": statistics.median(single),
            }
        finally:
            await pool.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=2_000)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    with database() as url:
        figures = uvloop.run(measure(url, given.runs, given.turns, given.in_flight))
    if given.json:
        given.json.write_bytes(orjson.dumps(figures))


if __name__ == "__main__":
    main()

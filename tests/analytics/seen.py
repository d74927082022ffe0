"""What came out: in Postgres, and on the topic."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx2
import orjson
from prometheus_client.parser import text_string_to_metric_families

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.totals import Totals
from headrace.messages.usage import UsageWindow
from headrace.runtime.wire import Wire
from tests.contract.kafka import read
from tests.support.mesh import Mesh

Windows = dict[tuple[str, str, int], Totals]


def rows(mesh: Mesh) -> list[asyncpg.Record]:
    """Rows of usage_windows."""

    async def fetched() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(mesh.environment["DATABASE_URL"])
        try:
            return await connection.fetch("SELECT * FROM usage_windows ORDER BY window_start, tenant, agent_name")
        finally:
            await connection.close()

    return asyncio.run(fetched())


def windows_stored(mesh: Mesh) -> Windows:
    return {
        (row["tenant"], row["agent_name"], round(row["window_start"].timestamp() * 1000)): Totals.from_json(
            orjson.loads(row["totals"])
        )
        for row in rows(mesh)
    }


def announcements(mesh: Mesh) -> list[UsageWindow]:
    """All of usage.windows, decoded, in order within each window."""

    async def decoded() -> list[Any]:
        wire = Wire("test", mesh.settings, MemoryBlobs(), topics=("usage.windows",))
        try:
            await wire.open()
            return [
                await wire.decode("usage.windows", raw.key, raw.value, {})
                for raw in read(mesh.settings, "usage.windows")
            ]
        finally:
            await wire.close()

    return asyncio.run(decoded())


def windows_on_topic(mesh: Mesh) -> dict[str, UsageWindow]:
    """The highest revision of each window."""
    latest: dict[str, UsageWindow] = {}
    for window in announcements(mesh):
        if window.window_id not in latest or window.revision >= latest[window.window_id].revision:
            latest[window.window_id] = window
    return latest


def metric(mesh: Mesh, name: str, **labels: str) -> float:
    """The value of a metric of the analytics process; 0 where there is none."""
    text = httpx2.get(f"http://127.0.0.1:{mesh.ops['analytics']}/metrics", trust_env=False).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0

"""Deliveries of ``ingest.raw`` written there once more: the same bytes, under the same names or new ones.

They went through the gateway's checks when they came, and those can't be repeated: signatures are not kept, and their times have
passed. What is written is what is there, with one header more that says where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.blobs import BlobStore
from headrace.messages import headers as record_headers
from headrace.messages.event import WEBHOOK_TYPE, RawDelivery
from headrace.registry.publish import connected
from headrace.runtime.api import Send
from headrace.runtime.poller import Record
from headrace.runtime.ranges import Ranges
from headrace.runtime.scan import Scan
from headrace.settings import MeshSettings

OF: Final = "ce_redeliveryof"  # partition/offset of the record that this one repeats
_PATIENCE_S: Final = 60.0
_CHUNK: Final = 200  # deliveries in one transaction


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries: all that fit everything that is given. Times are epoch milliseconds, ``until_ms`` exclusive."""

    ids: frozenset[str] = frozenset()
    source: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def fits(self, headers: record_headers.Headers, timestamp_ms: int) -> bool:
        return (
            headers.get("ce_type") == WEBHOOK_TYPE
            and headers.keys() >= {record_headers.ID, "ce_source"}
            and OF not in headers  # what was repeated is not repeated again
            and (not self.ids or headers.get(record_headers.ID) in self.ids)
            and (self.source is None or headers.get("ce_source") == f"/webhooks/{self.source}")
            and (self.since_ms is None or timestamp_ms >= self.since_ms)
            and (self.until_ms is None or timestamp_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery that fits, without its body. ``place`` is partition/offset, ``size`` in bytes."""

    id: str
    source: str
    place: str
    size: int


async def find(settings: MeshSettings, wanted: Wanted) -> list[Found]:
    """What fits, of everything that is in the topic now. Raises ``DependencyUnavailable``."""
    return [
        Found(headers[record_headers.ID], headers["ce_source"].removeprefix("/webhooks/"), _place(record), record.size)
        async for record, headers in _fitting(settings, wanted)
    ]


async def repeat(
    settings: MeshSettings, blobs: BlobStore, wanted: Wanted, found: Sequence[Found], *, suffix: str = ""
) -> None:
    """Write ``found`` (of ``wanted``) again, partition by partition in order; ``suffix`` joins each delivery's id.

    Raises:
        DependencyUnavailable: Kafka or the blob store is away. Each chunk is written whole or not at all; those before it are.
    """
    places = {each.place for each in found}
    sends: list[Send] = []
    async with connected(settings, "redelivery", blobs) as publisher:
        async for record, headers in _fitting(settings, wanted):
            if _place(record) in places:
                sends.append(Send(await _again(record, headers, blobs, suffix)))
            if len(sends) >= _CHUNK:
                await publisher.publish(sends, timeout_s=_PATIENCE_S)
                sends = []
        if sends:
            await publisher.publish(sends, timeout_s=_PATIENCE_S)


async def _fitting(settings: MeshSettings, wanted: Wanted) -> AsyncIterator[tuple[Record, record_headers.Headers]]:
    start = await asyncio.to_thread(_start, settings, wanted)
    async with Scan(settings, [RawDelivery.TOPIC], start=start) as scan:
        async for batch in scan:
            for record in batch:
                headers = record_headers.decode(record.headers)
                if wanted.fits(headers, record.timestamp_ms):
                    yield record, headers


def _start(settings: MeshSettings, wanted: Wanted) -> dict[tuple[str, int], int]:
    """The first offsets that can matter."""
    if wanted.since_ms is None:
        return {}
    ranges = Ranges(settings, "redelivery")
    partitions = ranges.extents([RawDelivery.TOPIC])[RawDelivery.TOPIC].partitions
    ends = {(RawDelivery.TOPIC, number): end for number, (_, end) in partitions.items()}
    return ends | ranges.at_time(list(ends), wanted.since_ms)


async def _again(record: Record, headers: record_headers.Headers, blobs: BlobStore, suffix: str) -> RawDelivery:
    kept = {name: value for name, value in headers.items() if name != record_headers.DATA_REF}
    reference = headers.get(record_headers.DATA_REF)
    body = await blobs.get(reference) if reference else record.value or b""
    named = {record_headers.ID: headers[record_headers.ID] + suffix, OF: _place(record)}
    return RawDelivery(body=body, headers=kept | named, key=named[record_headers.ID])


def _place(record: Record) -> str:
    return f"{record.partition}/{record.offset}"

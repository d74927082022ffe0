"""From the index of runs to their records: which runs there are, where their records lie, and the records read and decoded.

It reads: the index and blobs in Postgres (or the blob store's directory), topics, the schema registry. It writes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from headrace.blobs import BlobStore
from headrace.blobs.settings import open_blobs
from headrace.history.chain import BrokenChain, Chain, Filed, chain_of
from headrace.messages import headers as record_headers
from headrace.messages.codec import Codec, UnknownSchema
from headrace.messages.errors import BadMessage
from headrace.messages.result import AgentResult
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text
from headrace.postgres.pool import open_pool
from headrace.runtime.api import Source
from headrace.runtime.pick import Picker
from headrace.runtime.poller import Record
from headrace.runtime.schemas import Schemas
from headrace.settings import MeshSettings

PAGE: Final = 1_000  # runs whose records are in memory at a time
_BLOBS_AT_ONCE: Final = 64
_FOUND: Final = """
SELECT run_id, created_at FROM runs
WHERE tenant = $1 AND state IN ('completed', 'failed') AND created_at >= $2 AND (created_at, run_id) > ($3, $4)
  AND ($5::text IS NULL OR agent_name = $5)
ORDER BY created_at, run_id LIMIT $6
"""
_KNOWN: Final = "SELECT EXISTS (SELECT FROM runs WHERE tenant = $1 AND run_id = $2)"
_COUNT: Final = """
SELECT count(*) FROM runs
WHERE tenant = $1 AND state IN ('completed', 'failed') AND created_at >= $2 AND ($3::text IS NULL OR agent_name = $3)
"""
_STEPS: Final = 'SELECT run_id, topic, partition, "offset" FROM run_steps WHERE tenant = $1 AND run_id = ANY ($2)'


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs' chains, and of the runs that have none the reason."""

    chains: tuple[Chain, ...]
    broken: Mapping[str, str]

    @property
    def runs(self) -> int:
        return len(self.chains) + len(self.broken)


class History:
    """The runs of one tenant. Every method raises ``DependencyUnavailable`` while a server is away."""

    def __init__(self, settings: MeshSettings, pool: asyncpg.Pool, picker: Picker, schemas: Schemas) -> None:
        self._tenant = settings.tenant
        self._pool = pool
        self._picker = picker
        self._schemas = schemas
        self._store: BlobStore = open_blobs(settings, pool)
        self.codec = Codec(schemas)

    async def knows(self, run_id: str) -> bool:
        """Whether the index has that run."""
        with translated():
            return bool(await self._pool.fetchval(_KNOWN, self._tenant, storable_text(run_id)))

    @property
    def bytes_read(self) -> int:
        """Of records, so far: keys, values and headers, uncompressed."""
        return self._picker.bytes_read

    async def count(self, since: datetime, agent: str | None = None) -> int:
        """How many runs ``pages`` will give."""
        with translated():
            return int(await self._pool.fetchval(_COUNT, self._tenant, since, agent))

    async def pages(self, since: datetime, agent: str | None = None) -> AsyncIterator[Page]:
        """All ended runs that were created since then, oldest first; the next page is read while one is worked on."""
        after: tuple[datetime, str] = (since, "")
        upcoming = asyncio.ensure_future(self._page(since, agent, after))
        try:
            while (answer := await upcoming) is not None:
                page, after = answer
                upcoming = asyncio.ensure_future(self._page(since, agent, after))
                yield page
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def page_of(self, run_ids: Sequence[str]) -> Page:
        """The chains of these runs, in this order; a run that the index does not have is broken."""
        places = await self._places(run_ids)
        filed = await self._filed({place for found in places.values() for place in found})
        chains, broken = [], {}
        for run_id in run_ids:
            there = [filed[place] for place in places[run_id] if place in filed]
            try:
                chains.append(_whole(chain_of(run_id, [one for one in there if isinstance(one, Filed)]), there))
            except BrokenChain as error:
                broken[run_id] = str(error)
        return Page(tuple(chains), broken)

    async def fetch(self, refs: Collection[str]) -> dict[str, bytes | BadMessage]:
        """Blobs by their names; the error in place of one that is gone."""
        limit = asyncio.Semaphore(_BLOBS_AT_ONCE)

        async def one(ref: str) -> bytes | BadMessage:
            async with limit:
                try:
                    return await self._store.get(ref)
                except BadMessage as error:
                    return error

        return dict(zip(refs, await asyncio.gather(*map(one, refs)), strict=True))

    async def _page(
        self, since: datetime, agent: str | None, after: tuple[datetime, str]
    ) -> tuple[Page, tuple[datetime, str]] | None:
        with translated():
            rows = await self._pool.fetch(_FOUND, self._tenant, since, *after, agent, PAGE)
        if not rows:
            return None
        return await self.page_of([row["run_id"] for row in rows]), (rows[-1]["created_at"], rows[-1]["run_id"])

    async def _places(self, run_ids: Sequence[str]) -> dict[str, list[Source]]:
        with translated():
            rows = await self._pool.fetch(_STEPS, self._tenant, [storable_text(run_id) for run_id in run_ids])
        places: dict[str, list[Source]] = defaultdict(list)
        for run_id, topic, partition, offset in rows:
            places[run_id].append(Source(topic, partition, offset))
        return places

    async def _filed(self, places: Collection[Source]) -> dict[Source, Filed | BadMessage]:
        records = await self._picker.read(places)
        return {place: await self.filed(record) for place, record in records.items()}

    async def filed(self, record: Record) -> Filed | BadMessage:
        """A record with its message; the error in place of one that can't be read."""
        headers = record_headers.decode(record.headers)
        try:
            ref = headers.get(record_headers.DATA_REF)
            value = record.value if ref is None else await self._store.get(ref)
            try:
                message = self.codec.decode(record.topic, record.key, value, headers)
            except UnknownSchema as unknown:
                await self._schemas.fetch(unknown.schema_id)
                message = self.codec.decode(record.topic, record.key, value, headers)
        except BadMessage as error:
            return error
        place = Source(record.topic, record.partition, record.offset)
        return Filed(place, record.key, value or b"", record.timestamp_ms, message, headers)


@asynccontextmanager
async def open_history(settings: MeshSettings) -> AsyncIterator[History]:
    """Connected when entered. Raises ``DependencyUnavailable`` while a server is away."""
    schemas = Schemas(settings)
    try:
        await schemas.load([AgentResult.TOPIC])
        async with (
            open_pool(settings, min_size=1, max_size=4, service="headrace-replay") as pool,
            Picker(settings) as picker,
        ):
            yield History(settings, pool, picker, schemas)
    finally:
        await schemas.close()


def _whole(chain: Chain, there: Sequence[Filed | BadMessage]) -> Chain:
    """``chain``, if it says anything. Raises ``BrokenChain`` with the reason if not."""
    if chain.stretches:
        return chain
    if error := next((one for one in there if isinstance(one, BadMessage)), None):
        raise BrokenChain(f"a record of it can't be read: {error.cause}")
    raise BrokenChain("its records are gone" if not there else "nothing has come of its job yet")

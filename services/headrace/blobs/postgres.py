"""Blobs in the table ``blobs``: the default, since it needs no further part. Writes that arrive together share a statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from headrace.blobs import BlobCorrupt, BlobNotFound
from headrace.blobs.refs import digest_of
from headrace.messages import ids
from headrace.postgres.batch import Coalescer
from headrace.postgres.errors import encoding, translated

_BATCH_BYTES: Final = 4_000_000
_PUT: Final = """
INSERT INTO blobs (ref, bytes, size)
SELECT DISTINCT ON (ref) ref, bytes, length(bytes) FROM unnest($1::bytea[], $2::bytea[]) AS given (ref, bytes) ORDER BY ref
ON CONFLICT (ref) DO NOTHING
"""
_GET: Final = "SELECT bytes FROM blobs WHERE ref = $1"


class PostgresBlobs:
    """A ``BlobStore`` on a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._coalescer: Coalescer[tuple[bytes, bytes], None] = Coalescer(
            self._put_all, max_items=500, max_weight=_BATCH_BYTES, weigh=lambda item: len(item[1])
        )

    async def put(self, data: bytes) -> str:
        ref = ids.content_ref(data)
        await self._coalescer.submit((digest_of(ref), data))
        return ref

    async def get(self, ref: str) -> bytes:
        digest = digest_of(ref)
        with translated():
            data: bytes | None = await self._pool.fetchval(_GET, digest)
        if data is None:
            raise BlobNotFound("no such blob", where=ref)
        if ids.content_ref(data) != ref:
            raise BlobCorrupt("stored bytes differ from their name", where=ref)
        return data

    async def close(self) -> None:
        """Wait for the writes under way; refuse new ones."""
        await self._coalescer.close()

    async def _put_all(self, items: Sequence[tuple[bytes, bytes]]) -> list[None]:
        with translated(), encoding():
            await self._pool.execute(_PUT, [digest for digest, _ in items], [data for _, data in items])
        return [None] * len(items)

"""Which tenant may ask for which blob by its name.

A blob's name is its content, so tenants share what is the same; whoever learns a name could read the blob. Where a name comes
from text that nobody vouches for (a model's tool call, a caller of the API), only what was *granted* to the tenant is given:
blobs that were put for it, or that a job of it was handed. A grant is a blob itself, whose content says tenant and name: it needs
no table, and works in every store. It begins with a byte that no text begins with, so no text that is stored can be one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.blobs import BlobNotFound, BlobStore
from headrace.blobs.refs import digest_of
from headrace.messages import ids

_MARK: Final = b"\xff\x00headrace grant\x00"  # never UTF-8; stored grants depend on these bytes


class TenantBlobs:
    """A ``BlobStore`` of what one tenant may name."""

    def __init__(self, store: BlobStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def put(self, data: bytes) -> str:
        ref, _ = await asyncio.gather(self._store.put(data), self.grant(ids.content_ref(data)))
        return ref

    async def get(self, ref: str) -> bytes:
        """Raises ``BlobNotFound`` for what was not granted, as for what is not there: the two look the same from outside."""
        if not await self.may_name(ref):
            raise BlobNotFound("no such blob", where=ref)
        return await self._store.get(ref)

    async def may_name(self, ref: str) -> bool:
        try:
            await self._store.get(ids.content_ref(self._grant(ref)))
        except BlobNotFound:
            return False
        return True

    async def grant(self, ref: str) -> None:
        """The tenant may ask for ``ref``. Raises ``BadMessage`` for what is no reference."""
        await self._store.put(self._grant(ref))

    def _grant(self, ref: str) -> bytes:
        return _MARK + digest_of(ref) + self._tenant.encode("utf-8", "surrogatepass")

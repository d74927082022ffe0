"""Blobs through a cache in this process. A reference names its content, so what is cached can't be stale; only its
size is bounded.
"""

from __future__ import annotations

from collections import OrderedDict

from headrace.blobs import BlobStore


class BlobCache:
    """A ``BlobStore`` in front of another: least recently used first out, past ``max_bytes``.

    A blob larger than an eighth of the room is passed through, so that one giant can't empty the cache.
    """

    def __init__(self, store: BlobStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0

    async def put(self, data: bytes) -> str:
        ref = await self._store.put(data)
        self._keep(ref, data)
        return ref

    async def get(self, ref: str) -> bytes:
        if (data := self._blobs.get(ref)) is not None:
            self._blobs.move_to_end(ref)
            return data
        data = await self._store.get(ref)
        self._keep(ref, data)
        return data

    def _keep(self, ref: str, data: bytes) -> None:
        if ref in self._blobs or len(data) > self._max_bytes // 8:
            return
        self._blobs[ref] = data
        self.bytes += len(data)
        while self.bytes > self._max_bytes:
            _, dropped = self._blobs.popitem(last=False)
            self.bytes -= len(dropped)

"""Blobs in memory: for tests and for services that run without any store. Gone with the process."""

from __future__ import annotations

from headrace.blobs import BlobCorrupt, BlobNotFound
from headrace.blobs.refs import digest_of
from headrace.messages import ids


class MemoryBlobs:
    """A ``BlobStore`` in a dict."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}

    async def put(self, data: bytes) -> str:
        ref = ids.content_ref(data)
        self._blobs.setdefault(digest_of(ref), bytes(data))
        return ref

    async def get(self, ref: str) -> bytes:
        data = self._blobs.get(digest_of(ref))
        if data is None:
            raise BlobNotFound("no such blob", where=ref)
        if ids.content_ref(data) != ref:
            raise BlobCorrupt("stored bytes differ from their name", where=ref)
        return data

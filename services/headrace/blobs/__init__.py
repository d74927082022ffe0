"""Content-addressed blobs: anything large is put once and referred to as ``cas://sha256:<hex>``.

The port is ``BlobStore``; adapters are ``blobs.postgres`` (default), ``blobs.directory`` and ``blobs.memory``, all held by one
test suite. A blob is immutable and its name is its content, so ``put`` is idempotent and ``get`` verifies what it read.
"""

from __future__ import annotations

from typing import Protocol

from headrace.messages.errors import BadMessage


class BlobNotFound(BadMessage):
    """No blob of that name (never stored, or past its retention)."""

    cause = "blob_not_found"


class BlobCorrupt(BadMessage):
    """The stored bytes are not what their name says."""

    cause = "blob_corrupt"


class BlobStore(Protocol):
    """Raises ``DependencyUnavailable`` when the store is away."""

    async def put(self, data: bytes) -> str:
        """Store ``data`` (idempotent); the ``cas://`` reference."""
        ...

    async def get(self, ref: str) -> bytes:
        """The bytes of ``ref``. Raises ``BlobNotFound``, ``BlobCorrupt``, or ``BadMessage`` for a malformed reference."""
        ...

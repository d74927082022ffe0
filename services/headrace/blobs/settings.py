"""Which blob store the mesh uses: ``HEADRACE_BLOB_STORE``, and ``HEADRACE_BLOB_DIR`` for ``directory``."""

from __future__ import annotations

import asyncpg

from headrace.blobs import BlobStore
from headrace.blobs.directory import DirectoryBlobs
from headrace.blobs.postgres import PostgresBlobs
from headrace.messages.errors import FatalError
from headrace.settings import MeshSettings


def open_blobs(settings: MeshSettings, pool: asyncpg.Pool | None) -> BlobStore:
    """The store that the settings name. Only ``postgres`` needs the pool; raises ``FatalError`` without it."""
    if settings.blob_store == "directory":
        return DirectoryBlobs(settings.blob_dir)
    if pool is None:
        raise FatalError("blob_store=postgres needs a database")
    return PostgresBlobs(pool)

"""Blobs as files ``<root>/ab/cd/<hex>``: a local disk, or a volume that all replicas mount.

A file appears under its name only whole and on disk: written beside its place, synced, then renamed. Names are made from the
validated hash alone.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.blobs import BlobCorrupt, BlobNotFound
from headrace.blobs.refs import digest_of
from headrace.messages import ids
from headrace.messages.errors import DependencyUnavailable


class DirectoryBlobs:
    """A ``BlobStore`` below ``root``, which is made on the first ``put``. File work runs in threads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, data: bytes) -> str:
        ref = ids.content_ref(data)
        with _available():
            await asyncio.to_thread(_write, self._path(ref), data)
        return ref

    async def get(self, ref: str) -> bytes:
        path = self._path(ref)
        try:
            with _available():
                data = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            raise BlobNotFound("no such blob", where=ref) from None
        if ids.content_ref(data) != ref:
            raise BlobCorrupt("stored bytes differ from their name", where=ref)
        return data

    def _path(self, ref: str) -> Path:
        name = digest_of(ref).hex()
        return self._root / name[:2] / name[2:4] / name


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:  # disk full, not mounted, no permission: the record is not to blame
        raise DependencyUnavailable(f"blob directory: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (the file's own, and those of new sub-folders)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One suite over all adapters of ``BlobStore``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.blobs import BlobCorrupt, BlobNotFound, BlobStore
from headrace.blobs.directory import DirectoryBlobs
from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.postgres import PostgresBlobs
from headrace.blobs.settings import open_blobs
from headrace.messages.errors import BadMessage, DependencyUnavailable, FatalError
from headrace.messages.ids import content_ref
from headrace.settings import MeshSettings

BAD_REFS = [
    "",
    "cas://",
    "cas://sha256:abc",
    "cas://sha256:" + "A" * 64,
    "cas://sha256:" + "a" * 64 + "\n",
    "cas://sha256:../../../../etc/passwd",
    "cas://sha256:" + "/" * 64,
    "cas://md5:" + "a" * 64,
    "artifact://" + "a" * 64,
]


@pytest.fixture(params=["memory", "directory", "postgres"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return MemoryBlobs()
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "deep" / "blobs")
    return PostgresBlobs(request.getfixturevalue("pool"))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"\x00\x01\xff", b"x" * 3_000_000], ids=["empty", "binary", "large"])
async def test_what_was_put_is_what_is_got(blobs: BlobStore, data: bytes) -> None:
    ref = await blobs.put(data)
    assert ref == content_ref(data)
    assert await blobs.get(ref) == data


async def test_put_is_idempotent_alone_and_together(blobs: BlobStore) -> None:
    refs = await asyncio.gather(*(blobs.put(b"data-%d" % (number % 5)) for number in range(50)))
    assert len(set(refs)) == 5
    assert await blobs.put(b"data-0") == refs[0]
    assert await asyncio.gather(*(blobs.get(ref) for ref in refs[:5])) == [b"data-%d" % number for number in range(5)]


async def test_a_blob_that_is_not_there(blobs: BlobStore) -> None:
    with pytest.raises(BlobNotFound):
        await blobs.get(content_ref(b"never put"))


@pytest.mark.parametrize("ref", BAD_REFS)
async def test_a_malformed_reference_is_refused(blobs: BlobStore, ref: str) -> None:
    with pytest.raises(BadMessage) as caught:
        await blobs.get(ref)
    assert caught.value.cause == "blob_ref"


async def test_damage_is_noticed(blobs: Any, tmp_path: Path) -> None:
    ref = await blobs.put(b"original")
    if isinstance(blobs, MemoryBlobs):
        blobs._blobs = dict.fromkeys(blobs._blobs, b"damaged")
    elif isinstance(blobs, DirectoryBlobs):
        [file] = files(tmp_path)
        file.write_bytes(b"damaged")
    else:
        await blobs._pool.execute("UPDATE blobs SET bytes = 'damaged'")
    with pytest.raises(BlobCorrupt):
        await blobs.get(ref)


async def test_a_directory_holds_only_whole_files_under_their_names(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    refs = await asyncio.gather(*(blobs.put(b"%d" % number) for number in range(20)))
    names = {str(path.relative_to(tmp_path)) for path in files(tmp_path)}
    hashes = [ref.removeprefix("cas://sha256:") for ref in refs]
    assert names == {f"{name[:2]}/{name[2:4]}/{name}" for name in hashes}


async def test_a_directory_that_can_not_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DependencyUnavailable):
        await DirectoryBlobs(tmp_path / "file").put(b"data")


async def test_the_settings_choose(tmp_path: Path, pool: asyncpg.Pool) -> None:
    directory = MeshSettings(_env_file=None, blob_store="directory", blob_dir=tmp_path)
    assert isinstance(open_blobs(directory, None), DirectoryBlobs)
    assert isinstance(open_blobs(MeshSettings(_env_file=None), pool), PostgresBlobs)
    with pytest.raises(FatalError):
        open_blobs(MeshSettings(_env_file=None), None)


async def test_blobs_are_stored_uncompressed_and_once(pool: asyncpg.Pool) -> None:
    blobs = PostgresBlobs(pool)
    await asyncio.gather(*(blobs.put(b"a" * 100_000) for _ in range(10)))
    row = await pool.fetchrow(
        "SELECT count(*) AS count, min(size) AS size, min(pg_column_size(bytes)) AS kept FROM blobs"
    )
    assert row is not None
    assert (row["count"], row["size"]) == (1, 100_000)
    assert row["kept"] >= 100_000

"""The conversation as references: whole when loaded, bounded when carried, verified, stored once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.blobs import BlobNotFound
from headrace.blobs.memory import MemoryBlobs
from headrace.messages.run import CallRequest, Entry, Transcript, Turn
from headrace.reasoning.cache import BlobCache
from headrace.reasoning.transcript import TAIL_BYTES, YOUNG_BYTES, TranscriptBroken, Transcripts, cut_to

WHOLE = 10**9


class CountingBlobs(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.gets = 0

    async def get(self, ref: str) -> bytes:
        self.gets += 1
        return await super().get(ref)


def entry(text: str, **arguments: str) -> Entry:
    calls = (CallRequest(id="c", name="t", arguments=arguments),) if arguments else ()
    return Entry(role="assistant", content=text, tool_calls=calls)


EIGHT = [entry(letter * 200) for letter in "abcdefgh"]  # past the tail's bound together

texts = st.text(st.characters(codec="utf-8"), max_size=3_000)
entries = st.builds(
    lambda text, argument: entry(text, **({"q": argument} if argument else {})), texts, st.none() | texts
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(entries, min_size=1, max_size=4), max_size=8))
async def test_what_was_appended_is_what_is_loaded_and_what_is_carried_is_bounded(batches: list[list[Entry]]) -> None:
    blobs = MemoryBlobs()
    store, transcript = Transcripts(blobs), Transcript()
    for batch in batches:
        transcript = await store.settle(await store.append(transcript, batch))
        young = transcript.head is None and len(transcript.tail) <= 3
        assert len(msgspec.json.encode(transcript)) < (YOUNG_BYTES if young else TAIL_BYTES) + 200
    loaded = await Transcripts(blobs).load(transcript)
    resolved = await Transcripts(blobs).resolve(loaded, max_chars=WHOLE)
    assert list(resolved) == [entry for batch in batches for entry in batch]


async def test_a_large_text_is_the_same_blob_in_turn_and_entry() -> None:
    blobs = MemoryBlobs()
    store = Transcripts(blobs)
    packed = await store.pack_turn(Turn(text="x" * 5_000, model="m"))
    transcript = await store.append(Transcript(), [entry("x" * 5_000)])
    assert packed.text is None
    assert packed.text_ref == transcript.tail[0].content_ref
    assert await store.unpack_turn(packed) == Turn(text="x" * 5_000, model="m")


async def test_a_missing_segment_is_named() -> None:
    store = Transcripts(MemoryBlobs())
    transcript = await store.settle(await store.append(Transcript(), EIGHT))
    assert transcript.head is not None
    with pytest.raises(BlobNotFound, match=transcript.head):
        await Transcripts(MemoryBlobs()).load(transcript)


@pytest.mark.parametrize("stored", [0, 1, 9])
async def test_a_list_of_another_length_than_announced_is_refused(stored: int) -> None:
    store = Transcripts(MemoryBlobs())
    transcript = await store.settle(await store.append(Transcript(), EIGHT))
    with pytest.raises(TranscriptBroken):
        await store.load(transcript.replace(stored=stored))


async def test_a_blob_that_is_no_segment_is_refused() -> None:
    blobs = MemoryBlobs()
    with pytest.raises(TranscriptBroken):
        await Transcripts(blobs).load(Transcript(head=await blobs.put(b"{}"), stored=1))


async def test_loading_again_comes_from_the_cache_and_the_cache_is_bounded() -> None:
    blobs = CountingBlobs()
    writer, transcript = Transcripts(blobs), Transcript()
    for _ in range(20):
        transcript = await writer.settle(await writer.append(transcript, EIGHT))
    cache = BlobCache(blobs, 2**20)
    reader = Transcripts(cache)
    await reader.load(transcript)
    first = blobs.gets
    await reader.load(transcript)
    assert (first, blobs.gets) == (20, 20)
    small = BlobCache(blobs, 20_000)
    await Transcripts(small).load(transcript)
    assert small.bytes <= 20_000


async def test_a_content_past_the_view_is_cut_in_the_middle_with_a_note() -> None:
    (seen,) = await Transcripts(MemoryBlobs()).resolve([entry("a" * 5_000 + "z" * 100)], max_chars=1_000)
    assert seen.content is not None
    assert "4100 of 5100 characters are not shown" in seen.content
    assert seen.content.startswith("aaa")
    assert seen.content.endswith("zzz")
    assert cut_to("short", 1_000) == "short"

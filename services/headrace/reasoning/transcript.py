"""The conversation as references: each message is stored once, and a record carries a bounded piece of it.

A ``Transcript`` is a head and a tail. Entries are appended to the tail; where the tail's JSON is past ``TAIL_BYTES`` when a record
is due, it becomes one immutable ``Segment {previous, entries}`` in the blob store, and only that segment's reference is carried
on: a linked list, newest first. Inside entries and turns, texts and arguments are inline while they are small
together (``INLINE_BYTES``); else each piece past ``PIECE_BYTES`` is a reference to a blob of its own, the very same
one wherever it appears.

Up to its second model turn a run may carry ``YOUNG_BYTES``: most runs end there, in two records, and a blob would cost them a
round trip that saves nobody a byte.

It knows nothing of models or of records. The store verifies each blob against its name; what is added here is that a
list has as many entries as its transcript says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from headrace.blobs import BlobStore
from headrace.messages.errors import BadMessage
from headrace.messages.run import CallRequest, Entry, Segment, Transcript, Turn
from headrace.reasoning.entries import canonical

TAIL_BYTES: Final = 1_024
YOUNG_BYTES: Final = 4_096
_YOUNG_ENTRIES: Final = 3  # the question, a turn that asks for a call, its outcome
INLINE_BYTES: Final = 1_024  # text and arguments of one turn together, or the contents that are appended together
PIECE_BYTES: Final = (
    256  # past the inline bound, larger pieces go to blobs: a record has a piece up to four times, a blob once
)
_ENCODE: Final = msgspec.json.Encoder().encode
_SEGMENT: Final = msgspec.json.Decoder(Segment)


class TranscriptBroken(BadMessage):
    """The stored conversation is not the one that the record speaks of."""

    cause = "transcript"


class Transcripts:
    """Appends to, loads and resolves conversations. Raises ``DependencyUnavailable`` and ``BlobNotFound`` as the
    store does.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def append(self, transcript: Transcript, entries: Sequence[Entry]) -> Transcript:
        """``transcript`` with ``entries`` after it; what they refer to is stored when this returns."""
        young = transcript.head is None and len(transcript.tail) + len(entries) <= _YOUNG_ENTRIES
        packed = await self._pack_entries(entries, YOUNG_BYTES if young else INLINE_BYTES)
        return transcript.replace(tail=(*transcript.tail, *packed))

    async def settle(self, transcript: Transcript) -> Transcript:
        """``transcript`` as a record may carry it: a tail past its bound has become a segment."""
        tail = transcript.tail
        young = transcript.head is None and len(tail) <= _YOUNG_ENTRIES
        if _length(tail) <= (YOUNG_BYTES if young else TAIL_BYTES):
            return transcript
        head = await self._blobs.put(_ENCODE(Segment(previous=transcript.head, entries=tail)))
        return Transcript(head=head, stored=transcript.stored + len(tail))

    async def close(self, transcript: Transcript, entries: Sequence[Entry]) -> Transcript:
        """``transcript`` with ``entries`` after it, all of it stored: what another run can go on from."""
        grown = await self.append(transcript, entries)
        head = await self._blobs.put(_ENCODE(Segment(previous=grown.head, entries=grown.tail)))
        return Transcript(head=head, stored=grown.stored + len(grown.tail))

    async def load(self, transcript: Transcript) -> tuple[Entry, ...]:
        """All entries, oldest first, references unresolved. Raises ``TranscriptBroken``."""
        pieces: list[tuple[Entry, ...]] = []
        head, missing = transcript.head, transcript.stored
        while head is not None and missing > 0:
            segment = _segment(await self._blobs.get(head), head)
            pieces.append(segment.entries)
            head, missing = segment.previous, missing - len(segment.entries)
        if head is not None or missing != 0:
            raise TranscriptBroken(f"{transcript.stored} stored entries announced, found another number")
        return (*(entry for piece in reversed(pieces) for entry in piece), *transcript.tail)

    async def resolve(self, entries: Sequence[Entry], *, max_chars: int) -> tuple[Entry, ...]:
        """``entries`` with everything inline, as a model reads them; a content past ``max_chars`` is cut with a note."""
        if not any(_refers(entry) for entry in entries):
            return tuple([_cut(entry, max_chars) for entry in entries])
        return tuple(await asyncio.gather(*(self._resolve_entry(entry, max_chars) for entry in entries)))

    async def pack_turn(self, turn: Turn) -> Turn:
        """``turn`` with its large parts as references."""
        if _size(turn.text, turn.tool_calls) <= INLINE_BYTES:
            return turn
        text, text_ref = await self._pack_text(turn.text)
        calls = await self._pack_calls(turn.tool_calls)
        return turn.replace(text=text, text_ref=text_ref or turn.text_ref, tool_calls=calls)

    async def unpack_turn(self, turn: Turn) -> Turn:
        """``turn`` with everything inline."""
        text = await self._text(turn.text, turn.text_ref)
        return turn.replace(text=text, text_ref=None, tool_calls=await self._unpack_calls(turn.tool_calls))

    async def arguments(self, request: CallRequest) -> dict[str, Any]:
        """The arguments of a call, wherever they are."""
        return (await self._unpack_call(request)).arguments

    async def _pack_entries(self, entries: Sequence[Entry], inline: int) -> Sequence[Entry]:
        if sum([_size(entry.content, entry.tool_calls) for entry in entries]) <= inline:
            return entries
        return await asyncio.gather(*(self._pack_entry(entry) for entry in entries))

    async def _pack_entry(self, entry: Entry) -> Entry:
        content, ref = await self._pack_text(entry.content)
        calls = await self._pack_calls(entry.tool_calls)
        return entry.replace(content=content, content_ref=ref or entry.content_ref, tool_calls=calls)

    async def _pack_text(self, text: str | None) -> tuple[str | None, str | None]:
        if text is None or len(data := text.encode()) <= PIECE_BYTES:
            return text, None
        return None, await self._blobs.put(data)

    async def _pack_calls(self, calls: tuple[CallRequest, ...]) -> tuple[CallRequest, ...]:
        return tuple(await asyncio.gather(*(self._pack_call(call) for call in calls))) if calls else ()

    async def _pack_call(self, call: CallRequest) -> CallRequest:
        data = canonical(call.arguments).encode()
        if call.arguments_ref is not None or len(data) <= PIECE_BYTES:
            return call
        return call.replace(arguments={}, arguments_ref=await self._blobs.put(data))

    async def _resolve_entry(self, entry: Entry, max_chars: int) -> Entry:
        content = await self._text(entry.content, entry.content_ref)
        calls = await self._unpack_calls(entry.tool_calls)
        whole = entry.replace(content=content, content_ref=None, tool_calls=calls)
        return _cut(whole, max_chars)

    async def _text(self, text: str | None, ref: str | None) -> str | None:
        return (await self._blobs.get(ref)).decode("utf-8", "replace") if ref is not None else text

    async def _unpack_calls(self, calls: tuple[CallRequest, ...]) -> tuple[CallRequest, ...]:
        return tuple([await self._unpack_call(call) for call in calls])

    async def _unpack_call(self, call: CallRequest) -> CallRequest:
        if call.arguments_ref is None:
            return call
        arguments = orjson.loads(await self._blobs.get(call.arguments_ref))
        return call.replace(arguments=arguments, arguments_ref=None)


def cut_to(text: str, max_chars: int) -> str:
    """``text``, or its beginning and its end around a note that says what is missing."""
    if len(text) <= max_chars:
        return text
    end = min(400, max_chars // 4)
    note = f"\n[... {len(text) - max_chars} of {len(text)} characters are not shown ...]\n"
    return text[: max_chars - end] + note + text[-end:]


def _size(text: str | None, calls: Sequence[CallRequest]) -> int:
    """Bytes of what is inline."""
    size = (len(text) if text.isascii() else len(text.encode())) if text else 0
    return size + sum([len(canonical(call.arguments)) for call in calls]) if calls else size


def _refers(entry: Entry) -> bool:
    return entry.content_ref is not None or any(call.arguments_ref is not None for call in entry.tool_calls)


def _cut(entry: Entry, max_chars: int) -> Entry:
    if entry.content is None or len(entry.content) <= max_chars:
        return entry
    return entry.replace(content=cut_to(entry.content, max_chars))


def _length(entries: tuple[Entry, ...]) -> int:
    """Bytes of ``entries`` as a JSON array."""
    return len(_ENCODE(entries))


def _segment(data: bytes, ref: str) -> Segment:
    try:
        return _SEGMENT.decode(data)
    except ValueError:
        raise TranscriptBroken("not a segment of a conversation", where=ref) from None

"""A stored conversation, read back: the linked list of segments that ``messages.run.Transcript`` describes, oldest entry first."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from headrace.blobs import BlobStore
from headrace.index.views import SaidView
from headrace.messages.errors import BadMessage
from headrace.messages.run import Entry, Segment

_SEGMENT: Final = msgspec.json.Decoder(Segment)


async def conversation(blobs: BlobStore, head: str | None, stored: int) -> tuple[SaidView, ...]:
    """What was said. Raises ``BadMessage`` for a conversation that is not as it was announced, or whose blobs are gone."""
    pieces: list[tuple[Entry, ...]] = []
    while head is not None and stored > 0:
        try:
            segment = _SEGMENT.decode(await blobs.get(head))
        except msgspec.DecodeError:
            raise BadMessage("not a segment of a conversation", cause="transcript", where=head) from None
        pieces.append(segment.entries)
        head, stored = segment.previous, stored - len(segment.entries)
    entries = [entry for piece in reversed(pieces) for entry in piece]
    return tuple(await asyncio.gather(*(_said(blobs, entry) for entry in entries)))


async def _said(blobs: BlobStore, entry: Entry) -> SaidView:
    content = entry.content
    if entry.content_ref is not None:
        content = (await blobs.get(entry.content_ref)).decode("utf-8", "replace")
    return SaidView(role=entry.role, content=content or "")

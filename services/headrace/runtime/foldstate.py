"""The state of an ordered stage, inside the commit's metadata: after which record it holds is the committed offset beside it.

An ordered stage finishes records in offset order, so its offset map is always empty and the metadata is free for the state.

Format (never change it; make a new tag instead)::

    hs1:<crc32 of the state, 8 hex digits>:<state>
"""

from __future__ import annotations

import zlib

from headrace.messages.errors import FatalError
from headrace.runtime.offsetmap import MAX_CHARS, CorruptOffsetMap

TAG = "hs1:"


def encode(state: str) -> str:
    """Metadata that holds ``state``. Raises ``FatalError`` for a state that no broker would take."""
    text = f"{TAG}{zlib.crc32(state.encode()):08x}:{state}"
    if len(text.encode()) > MAX_CHARS:
        raise FatalError(f"a state of {len(state)} characters does not fit into a commit")
    return text


def decode(metadata: str | None) -> tuple[str | None, str]:
    """``(state, offset map)`` of a commit: one of the two is there, or neither.

    Raises:
        CorruptOffsetMap: a state that is damaged. Reset the group's offsets (which clears it) to start over on purpose.
    """
    if not metadata or not metadata.startswith(TAG):
        return None, metadata or ""
    checksum, _, state = metadata.removeprefix(TAG).partition(":")
    if checksum != f"{zlib.crc32(state.encode()):08x}":
        raise CorruptOffsetMap("commit metadata is not an intact state: checksum")
    return state, ""

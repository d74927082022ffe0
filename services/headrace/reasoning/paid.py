"""Model replies that are paid for while their record is not committed yet.

When something after a model call fails (the blob store is away) the runtime hands the same record in again. What the
provider has already answered for it is kept here, so the next attempt takes up from there and no reply is paid for
twice. In this process only: a crash before the commit is the window in which a reply can be lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from headrace.models import ModelReply
from headrace.runtime.api import Source

_MAX_RECORDS: Final = 10_000


class PaidReplies:
    """Replies by the position of the record that they were asked for, in order; oldest record out first."""

    def __init__(self, max_records: int = _MAX_RECORDS) -> None:
        self._replies: OrderedDict[Source, list[ModelReply]] = OrderedDict()
        self._max = max_records

    def take(self, position: Source) -> list[ModelReply]:
        """What an earlier attempt left, no longer kept here."""
        return self._replies.pop(position, [])

    def keep(self, position: Source, replies: list[ModelReply]) -> None:
        """Leave ``replies`` for the next attempt."""
        if replies:
            self._replies[position] = replies
        while len(self._replies) > self._max:
            self._replies.popitem(last=False)

    def __len__(self) -> int:
        return len(self._replies)

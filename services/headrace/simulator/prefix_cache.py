"""Prompt caching as providers bill it: a prefix of at least 1,024 tokens that was seen before is read, not paid in full.

OpenAI caches by itself at any boundary between messages. Anthropic writes at marked blocks only, bills the write, and looks
for what was written before at each mark and up to 20 blocks ahead of it. Tokens are bytes / 4 here.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from headrace.simulator.conversation import Conversation

MIN_TOKENS: Final = 1024
_LOOKBACK: Final = 20


class PrefixCache:
    """Remembers the newest ``capacity`` prefixes, by hash."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._seen: dict[bytes, None] = {}

    def use(self, conversation: Conversation) -> tuple[int, int]:
        """Count the request in; returns the tokens (read from the cache, written to it)."""
        boundaries = _boundaries(conversation)
        if conversation.wire == "openai":
            places = readable = list(range(len(boundaries)))
        else:
            places = [index for index, piece in enumerate(conversation.pieces) if piece.marked]
            readable = sorted({at for mark in places for at in range(max(0, mark - _LOOKBACK), mark + 1)})
        long_enough = [boundaries[index] for index in places if boundaries[index][1] >= MIN_TOKENS]
        read = max((boundaries[index][1] for index in readable if boundaries[index][0] in self._seen), default=0)
        self._remember([key for key, _ in long_enough])
        if conversation.wire == "openai":
            return read, 0
        return read, max((tokens for _, tokens in long_enough), default=read) - read

    def _remember(self, keys: list[bytes]) -> None:
        self._seen.update(dict.fromkeys(keys))
        while len(self._seen) > self._capacity:
            del self._seen[next(iter(self._seen))]


def _boundaries(conversation: Conversation) -> list[tuple[bytes, int]]:
    """For each piece: the hash of the prompt up to its end, and the tokens up to there."""
    digest, tokens, boundaries = blake2b(conversation.model.encode(), digest_size=16), 0, []
    for piece in conversation.pieces:
        digest.update(len(piece.data).to_bytes(8, "big"))
        digest.update(piece.data)
        tokens += piece.tokens
        boundaries.append((digest.digest(), tokens))
    return boundaries

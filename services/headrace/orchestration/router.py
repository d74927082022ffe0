"""One processor of several parts: each record goes to every part that takes its type, and what they produce is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from headrace.messages.base import Message
from headrace.messages.errors import RejectedMessage
from headrace.runtime.api import Context, Send


class Part(Protocol):
    """A processor of some message types. Whatever it writes elsewhere than in its answer must bear being repeated."""

    @property
    def takes(self) -> Collection[type[Message]]: ...

    async def handle(self, message: Message, context: Context) -> Sequence[Send]: ...


class Router:
    """The parts in their order. A record that fails in one of them is tried again in all of them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts: dict[type[Message], list[Part]] = {}
        for part in parts:
            for type_ in part.takes:
                self._parts.setdefault(type_, []).append(part)

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        """Raises ``RejectedMessage`` for a message that no part takes, and whatever a part raises."""
        parts = self._parts.get(type(message))
        if parts is None:
            raise RejectedMessage(f"orchestration does not take {type(message).__name__}", cause="unexpected_message")
        return [send for part in parts for send in await part.handle(message, context)]

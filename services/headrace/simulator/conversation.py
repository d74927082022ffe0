"""What both wires have in common: one request as the simulator sees it, and one turn as it answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

WireName = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the prompt in the order in which a provider caches it. ``marked``: the request asks to cache up to here."""

    data: bytes
    marked: bool = False

    @property
    def tokens(self) -> int:
        return max(1, len(self.data) // 4)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A parsed request. ``turn`` counts assistant messages so far; ``last_tool`` joins tool results after the last of them.
    ``streams``: the answer is wanted as a stream.
    """

    wire: WireName
    model: str
    system: str
    first_user: str
    last_user: str
    last_tool: str
    turn: int
    tools_offered: bool
    streams: bool
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """A tool call to send. ``arguments`` is a JSON object, or text to send verbatim."""

    id: str
    name: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Usage of one answer; ``input`` counts all input, cached or not."""

    input: int
    output: int
    cache_read: int
    cache_write: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant turn to render. ``id`` is derived from the request, so that the same request gives the same bytes."""

    id: str
    model: str
    text: str | None
    calls: tuple[CallAnswer, ...]
    tokens: Tokens
    stop_reason: str | None = None


class BadRequest(Exception):
    """The request body is not what this wire takes: answered with 400 and this text."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One provider's wire. ``frames`` makes a stream of what ``render`` gives, ``error`` takes status, message and code."""

    name: WireName
    request_id_header: str
    parse: Callable[[dict[str, Any]], Conversation]
    render: Callable[[Answer], dict[str, Any]]
    frames: Callable[[dict[str, Any]], Iterable[bytes]]
    error: Callable[[int, str, str | None], dict[str, Any]]

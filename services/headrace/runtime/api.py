"""What a processor sees of the runtime: a message in, messages out.

A processor is logic apart from Kafka. It never sees consumers, transactions or commits; ``Context.source`` names its input
as data (for indexes and dedup), nothing more. The same processor runs under the real worker and under the simulation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol, runtime_checkable

from headrace.messages.base import Message
from headrace.messages.errors import BadMessage
from headrace.messages.headers import RawHeaders
from headrace.runtime import deadletter

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Source(NamedTuple):
    """Position of an input record. ``topic`` is the logical name, without the cluster's prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Context(NamedTuple):
    """What comes with a message. ``attempt`` counts from 1; ``timestamp_ms`` is the record's (epoch milliseconds)."""

    source: Source
    headers: Mapping[str, str]
    timestamp_ms: int
    attempt: int = 1
    size: int = 0  # bytes of the record's key, value and headers

    @property
    def position(self) -> str:
        """The name that this record claims things by: where it was first read, also after a redrive from the DLQ."""
        return self.headers.get(deadletter.POSITION) or str(self.source)


class Send(NamedTuple):
    """A message to produce. Topic, id, key and headers follow from the message; ``key`` and ``headers`` may override."""

    message: Message
    key: str | None = None
    headers: Mapping[str, str] = _NO_HEADERS
    topic: str | None = None  # another topic that carries the same message, such as a caller's reply_to


class Processor(Protocol):
    """One stage of the flow. ``handle`` runs for many keys at once, one at a time per key, in order of arrival.

    It may raise anything of ``messages.errors``; whatever it returns is produced in one transaction with the input's offset.
    A cancelled ``handle`` (partition revoked, shutdown) must leave nothing half done that a later run could not repeat.
    """

    async def handle(self, message: Message, context: Context) -> Sequence[Send]: ...


class BatchProcessor(Protocol):
    """A stage whose work is cheaper for many records at once, such as one statement for all of them.

    ``handle_all`` gets what can start now, at most one record of a key, and gives one result for each, in order: what to
    produce, or the error of that record alone. ``DependencyUnavailable`` and ``FatalError`` that it raises concern all of them; for
    anything else that it raises it is called again with halves, until the record that it fails for is alone. Else as ``Processor``.
    """

    async def handle_all(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Sequence[Send] | Exception]: ...


class PreparingProcessor(Protocol):
    """A stage that has something to ask before the work on a record begins, and asks it for many at once.

    ``prepare`` gets records of the topics in ``PREPARES`` as they are received, before their turn in their lanes, and gives for
    each what ``handle`` is to know, or the error of that record alone. What it raises, all of them meet. A record may be prepared
    more than once: after an error, or by its next owner. Records of other topics are handled with ``None``.
    """

    PREPARES: ClassVar[Collection[str]]

    async def prepare(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Any]: ...

    async def handle(self, message: Message, context: Context, prepared: Any) -> Sequence[Send]: ...


@runtime_checkable
class Answering(Protocol):
    """A stage that answers the sender of a record that can't be worked on.

    What ``refused`` gives is produced in the transaction of the record's dead letter, and may be asked for more than once.
    """

    async def refused(self, error: BadMessage, context: Context) -> Sequence[Send]: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as its partition holds it. ``decode`` gives its message; it raises as a processor's input would fail."""

    key: bytes | None
    value: bytes | None
    headers: RawHeaders
    decode: Callable[[], Awaitable[Message]]


class Fold(Protocol):
    """An *ordered* stage: each source partition is one sequence, and a state goes along from record to record.

    ``fold`` gets the state that the record before left (None before the first one, and after a reset of the group's offsets) and
    returns the state after this record with what to produce. Outputs, offset and state are committed in one transaction. The
    state is text of at most some 2,900 bytes; errors are treated as a processor's, and leave the state as it was.
    """

    async def fold(self, state: str | None, record: Stored, context: Context) -> tuple[str, Sequence[Send]]: ...


class ClaimCheck(Protocol):
    """Where values past the record bound go; any ``blobs.BlobStore`` fits."""

    async def put(self, data: bytes) -> str: ...

    async def get(self, ref: str) -> bytes: ...

"""From records to their outputs, through a processor: one record of many keys each, a batch of them, or (ordered stages) one
partition after the other.

For an ordered stage the engine keeps a single lane per partition and commits the state with the offset and the outputs, in one
transaction. So the state that a new owner finds is exactly that of the last record whose outputs are there, whatever crashed
in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast

from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Encoded
from headrace.messages.errors import FatalError
from headrace.pipeline import Stage
from headrace.runtime.api import BatchProcessor, Context, Fold, Processor, Send, Source, Stored
from headrace.runtime.engine import Item
from headrace.runtime.poller import Record
from headrace.runtime.wire import Wire

AnyProcessor = Processor | BatchProcessor | Fold
Outputs = list[Encoded]
Focus = Callable[[Item[Encoded]], None]
"""Makes a record's span the current one, so that what is made for the record belongs to it."""


class Handling(Protocol):
    """``together``: whether ``run`` wants all that can start in one call, else one record a call."""

    together: bool

    async def run(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]:
        """For each item its outputs, or what decoding, the processor or encoding raised."""
        ...


def handling(stage: Stage, processor: AnyProcessor, wire: Wire, focus: Focus) -> Handling:
    if stage.ordered:
        return Single(Ordered(cast("Fold", processor), wire), focus)
    if hasattr(processor, "handle_all"):
        return Batched(cast("BatchProcessor", processor), wire, focus)
    return Single(Keyed(cast("Processor", processor), wire), focus)


class One(Protocol):
    async def run(self, item: Item[Encoded], record: Record) -> Outputs:
        """The outputs of ``record``. Raises what decoding, the processor and encoding raise."""
        ...


class Single:
    together = False

    def __init__(self, one: One, focus: Focus) -> None:
        self._one = one
        self._focus = focus

    async def run(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]:
        (item,) = items
        self._focus(item)
        try:
            return (await self._one.run(item, cast("Record", item.record)),)
        except Exception as error:
            return (error,)


class Keyed:
    def __init__(self, processor: Processor, wire: Wire) -> None:
        self._processor = processor
        self._wire = wire

    async def run(self, item: Item[Encoded], record: Record) -> Outputs:
        context = _context(item, record)
        message = await self._wire.decode(record.topic, record.key, record.value, context.headers)
        sends = await self._processor.handle(message, context)
        return [await self._wire.encode(send, context.headers) for send in sends]


class Batched:
    together = True

    def __init__(self, processor: BatchProcessor, wire: Wire, focus: Focus) -> None:
        self._processor = processor
        self._wire = wire
        self._focus = focus

    async def run(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]:
        decoded = [await self._decode(item) for item in items]
        inputs = [one for one in decoded if not isinstance(one, Exception)]
        answers = iter(await self._handle(inputs) if inputs else ())
        return [
            one if isinstance(one, Exception) else await self._encode(item, one[1], next(answers))
            for item, one in zip(items, decoded, strict=True)
        ]

    async def _decode(self, item: Item[Encoded]) -> tuple[Message, Context] | Exception:
        self._focus(item)
        record = cast("Record", item.record)
        context = _context(item, record)
        try:
            return await self._wire.decode(record.topic, record.key, record.value, context.headers), context
        except Exception as error:
            return error

    async def _handle(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Sequence[Send] | Exception]:
        try:
            answers = await self._processor.handle_all(inputs)
        except Exception as error:
            return [error] * len(inputs)
        if len(answers) != len(inputs):
            raise FatalError(f"a batch of {len(inputs)} records was answered with {len(answers)} results")
        return answers

    async def _encode(
        self, item: Item[Encoded], context: Context, answer: Sequence[Send] | Exception
    ) -> Outputs | Exception:
        if isinstance(answer, Exception):
            return answer
        self._focus(item)
        try:
            return [await self._wire.encode(send, context.headers) for send in answer]
        except Exception as error:
            return error


class Ordered:
    """Outputs carry the record's trace, and no causation: they are about it, not made by it, and its headers may be of any size."""

    def __init__(self, stage: Fold, wire: Wire) -> None:
        self._stage = stage
        self._wire = wire

    async def run(self, item: Item[Encoded], record: Record) -> Outputs:
        context = _context(item, record)
        decode = partial(self._wire.decode, record.topic, record.key, record.value, context.headers)
        stored = Stored(record.key, record.value, record.headers, decode)
        state, sends = await self._stage.fold(item.tenancy.state, stored, context)
        trace = context.headers.get(record_headers.TRACEPARENT)
        cause = {record_headers.TRACEPARENT: trace} if trace else {}
        outputs = [await self._wire.encode(send, cause) for send in sends]
        item.state = state
        return outputs


def _context(item: Item[Encoded], record: Record) -> Context:
    source = Source(record.topic, record.partition, record.offset)
    headers = record_headers.decode(record.headers)
    return Context(source, headers, record.timestamp_ms, item.attempt, record.size)

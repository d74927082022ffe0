"""From a record to its outputs, through a processor: many keys at once, or (ordered stages) one partition after the other.

For an ordered stage the engine keeps a single lane per partition and commits the state with the offset and the outputs, in one
transaction. So the state that a new owner finds is exactly that of the last record whose outputs are there, whatever crashed
in between.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol, cast

from headrace.messages import headers as record_headers
from headrace.messages.codec import Encoded
from headrace.pipeline import Stage
from headrace.runtime.api import Context, Fold, Processor, Source, Stored
from headrace.runtime.engine import Item
from headrace.runtime.poller import Record
from headrace.runtime.wire import Wire


class Handling(Protocol):
    async def run(self, item: Item[Encoded], record: Record) -> list[Encoded]:
        """The outputs of ``record``. Raises what decoding, the processor and encoding raise."""
        ...


def handling(stage: Stage, processor: Processor | Fold, wire: Wire) -> Handling:
    return Ordered(cast("Fold", processor), wire) if stage.ordered else Keyed(cast("Processor", processor), wire)


class Keyed:
    def __init__(self, processor: Processor, wire: Wire) -> None:
        self._processor = processor
        self._wire = wire

    async def run(self, item: Item[Encoded], record: Record) -> list[Encoded]:
        context = _context(item, record)
        message = await self._wire.decode(record.topic, record.key, record.value, context.headers)
        sends = await self._processor.handle(message, context)
        return [await self._wire.encode(send, context.headers) for send in sends]


class Ordered:
    """Outputs carry the record's trace, and no causation: they are about it, not made by it, and its headers may be of any size."""

    def __init__(self, stage: Fold, wire: Wire) -> None:
        self._stage = stage
        self._wire = wire

    async def run(self, item: Item[Encoded], record: Record) -> list[Encoded]:
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

"""From records to their outputs, through a processor: one record of many keys each (after what is prepared for many), a batch of
them, or (ordered stages) one partition after the other.

For an ordered stage the engine keeps a single lane per partition and commits the state with the offset and the outputs, in one
transaction. So the state that a new owner finds is exactly that of the last record whose outputs are there, whatever crashed
in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol, cast

from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Encoded
from headrace.messages.errors import BadMessage, DependencyUnavailable, FatalError
from headrace.pipeline import Stage
from headrace.runtime.api import (
    Answering,
    BatchProcessor,
    Context,
    Fold,
    PreparingProcessor,
    Processor,
    Send,
    Source,
    Stored,
)
from headrace.runtime.engine import Item
from headrace.runtime.poller import Record
from headrace.runtime.wire import Wire

AnyProcessor = Processor | PreparingProcessor | BatchProcessor | Fold
Outputs = list[Encoded]
Focus = Callable[[Item[Encoded]], None]
"""Makes a record's span the current one, so that what is made for the record belongs to it."""


class Answered(BadMessage):
    """A refusal with the records that tell its sender so; they go out with the dead letter."""

    def __init__(self, refusal: BadMessage, outputs: Sequence[Encoded]) -> None:
        super().__init__(refusal.args[0], cause=refusal.cause, where=refusal.where)
        self.outputs = outputs


class Handling(Protocol):
    """``together``: whether ``run_all`` is called with all that can start, else ``run`` with one record a call, after ``prepare``
    for records of the topics in ``prepares``.

    A result is the outputs, or what decoding, the processor or encoding raised.
    """

    together: bool
    prepares: Collection[str]

    async def prepare(self, items: Sequence[Item[Encoded]]) -> Sequence[Any]:
        """For each record what ``run`` is to find in ``prepared``, or an error."""
        ...

    async def run(self, item: Item[Encoded]) -> Outputs | Exception: ...

    async def run_all(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]: ...


def handling(stage: Stage, processor: AnyProcessor, wire: Wire, focus: Focus) -> Handling:
    if stage.ordered:
        return Ordered(cast("Fold", processor), wire, focus)
    if hasattr(processor, "handle_all"):
        return Batched(cast("BatchProcessor", processor), wire, focus)
    if hasattr(processor, "prepare"):
        return Prepared(cast("PreparingProcessor", processor), wire, focus)
    return Keyed(cast("Processor", processor), wire, focus)


class _OneByOne:
    """Records that do not wait for each other's like are worked on one after the other, in one task where that is asked for."""

    prepares: Collection[str] = ()

    def __init__(self, wire: Wire, focus: Focus) -> None:
        self._wire = wire
        self._focus = focus

    async def run(self, item: Item[Encoded]) -> Outputs | Exception:
        raise NotImplementedError

    async def run_all(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]:
        return [await self.run(item) for item in items]

    async def prepare(self, items: Sequence[Item[Encoded]]) -> Sequence[Any]:
        return [None] * len(items)

    async def _decoded(self, item: Item[Encoded]) -> tuple[Message, Context]:
        record = cast("Record", item.record)
        context = _context(item, record)
        given = record.topic, record.key, record.value, context.headers
        return self._wire.decode_now(*given) or await self._wire.decode(*given), context


class Keyed(_OneByOne):
    """One record of many keys each."""

    together = False

    def __init__(self, processor: Processor, wire: Wire, focus: Focus) -> None:
        super().__init__(wire, focus)
        self._processor = processor

    async def run(self, item: Item[Encoded]) -> Outputs | Exception:
        self._focus(item)
        try:
            message, context = await self._decoded(item)
            sends = await self._processor.handle(message, context)
            return await self._wire.encode_all(sends, context.headers)
        except Exception as error:
            return error


class Prepared(_OneByOne):
    """One record of many keys each, some of them with what was asked for many before."""

    together = False

    def __init__(self, processor: PreparingProcessor, wire: Wire, focus: Focus) -> None:
        super().__init__(wire, focus)
        self._processor = processor
        self._answering = processor if isinstance(processor, Answering) else None
        self.prepares = processor.PREPARES

    async def prepare(self, items: Sequence[Item[Encoded]]) -> Sequence[Any]:
        decoded = [await self._try_decode(item) for item in items]
        inputs = [one for one in decoded if not isinstance(one, Exception)]
        answers = iter(await self._ask(inputs) if inputs else ())
        return [one if isinstance(one, Exception) else next(answers) for one in decoded]

    async def _ask(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Any]:
        try:
            answers = await self._processor.prepare(inputs)
        except Exception as error:
            return [error] * len(inputs)
        if len(answers) != len(inputs):
            return [FatalError(f"{len(inputs)} records were prepared with {len(answers)} answers")] * len(inputs)
        return answers

    async def run(self, item: Item[Encoded]) -> Outputs | Exception:
        self._focus(item)
        prepared, item.prepared = item.prepared, None
        try:
            # Again: a record that waits is kept as it came, which is smaller.
            message, context = await self._decoded(item)
            sends = await self._processor.handle(message, context, prepared)
            return await self._wire.encode_all(sends, context.headers)
        except BadMessage as error:
            return await self._answered(item, error)
        except Exception as error:
            return error

    async def _try_decode(self, item: Item[Encoded]) -> tuple[Message, Context] | Exception:
        try:
            return await self._decoded(item)
        except BadMessage as error:
            return await self._answered(item, error)
        except Exception as error:
            return error

    async def _answered(self, item: Item[Encoded], refusal: BadMessage) -> Exception:
        """``refusal``, with what the stage says to the record's sender."""
        if self._answering is None:
            return refusal
        context = _context(item, cast("Record", item.record))
        try:
            sends = await self._answering.refused(refusal, context)
            return Answered(refusal, await self._wire.encode_all(sends, context.headers)) if sends else refusal
        except Exception as error:
            return error


class Batched(_OneByOne):
    """All that can start in one call of the processor."""

    together = True

    def __init__(self, processor: BatchProcessor, wire: Wire, focus: Focus) -> None:
        super().__init__(wire, focus)
        self._processor = processor

    async def run_all(self, items: Sequence[Item[Encoded]]) -> Sequence[Outputs | Exception]:
        decoded = [await self._decode(item) for item in items]
        inputs = [one for one in decoded if not isinstance(one, Exception)]
        answers = iter(await self._handle(inputs) if inputs else ())
        return [
            one if isinstance(one, Exception) else await self._encode(item, one[1], next(answers))
            for item, one in zip(items, decoded, strict=True)
        ]

    async def _decode(self, item: Item[Encoded]) -> tuple[Message, Context] | Exception:
        self._focus(item)
        try:
            return await self._decoded(item)
        except Exception as error:
            return error

    async def _handle(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Sequence[Send] | Exception]:
        """Halved where it fails, until the record that it fails for is alone: the others are not to suffer for it."""
        try:
            answers = await self._processor.handle_all(inputs)
        except (DependencyUnavailable, FatalError) as error:
            return [error] * len(inputs)
        except Exception as error:
            if len(inputs) == 1:
                return [error]
            middle = len(inputs) // 2
            return [*await self._handle(inputs[:middle]), *await self._handle(inputs[middle:])]
        if len(answers) != len(inputs):
            return [FatalError(f"{len(inputs)} records were answered with {len(answers)} results")] * len(inputs)
        return answers

    async def _encode(
        self, item: Item[Encoded], context: Context, answer: Sequence[Send] | Exception
    ) -> Outputs | Exception:
        if isinstance(answer, Exception):
            return answer
        self._focus(item)
        try:
            return await self._wire.encode_all(answer, context.headers)
        except Exception as error:
            return error


class Ordered(_OneByOne):
    """One record of each partition after the other, in one task: for work that hardly ever waits.

    Outputs carry the record's trace, and no causation: they are about it, not made by it, and its headers may be of any size.
    """

    together = True

    def __init__(self, stage: Fold, wire: Wire, focus: Focus) -> None:
        super().__init__(wire, focus)
        self._stage = stage

    async def run(self, item: Item[Encoded]) -> Outputs | Exception:
        self._focus(item)
        record = cast("Record", item.record)
        try:
            return await self._fold(item, record)
        except Exception as error:
            return error

    async def _fold(self, item: Item[Encoded], record: Record) -> Outputs:
        context = _context(item, record)
        decode = partial(self._wire.decode, record.topic, record.key, record.value, context.headers)
        stored = Stored(record.key, record.value, record.headers, decode)
        state, sends = await self._stage.fold(item.tenancy.state, stored, context)
        trace = context.headers.get(record_headers.TRACEPARENT)
        cause = {record_headers.TRACEPARENT: trace} if trace else {}
        outputs = await self._wire.encode_all(sends, cause)
        item.state = state
        return outputs


def _context(item: Item[Encoded], record: Record) -> Context:
    source = Source(record.topic, record.partition, record.offset)
    headers = record_headers.decode(record.headers)
    return Context(source, headers, record.timestamp_ms, item.attempt, record.size)

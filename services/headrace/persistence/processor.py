"""Persistence: ``agent.results``, ``tool.results``, ``tool.calls``, ``run.waits``, ``agent.jobs``, ``ingest.events`` -> Postgres.

Each record becomes rows, which depend on the record and its place alone; rows of records that are in flight together go
in one transaction. Every write may be repeated and come in any order, so an offset reset rebuilds the index without doubling
anything. It knows neither Kafka nor how its tables are read.

    what fails                      what happens
    Postgres or blobs away          DependencyUnavailable: the record waits, however long
    Postgres refuses a row's data   BadMessage for that record alone; the others of its batch are written
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from headrace.blobs import BlobStore
from headrace.messages.base import Message
from headrace.messages.errors import FatalError
from headrace.messages.result import AgentResult
from headrace.persistence.results import inline, result_row, store_output
from headrace.persistence.rows import ROWS, Rows
from headrace.persistence.settings import PersistenceSettings
from headrace.persistence.values import recorded_at
from headrace.persistence.writer import Writer
from headrace.postgres.batch import Coalescer
from headrace.postgres.errors import encoding
from headrace.runtime.api import Context, Send

Input = tuple[Message, Context]
Answer = Sequence[Send] | Exception

_LARGE: Final = 1_000_000  # bytes of a record past which its result counts as large


class PersistenceProcessor:
    """The processor of the stage ``persistence``."""

    def __init__(self, pool: asyncpg.Pool, blobs: BlobStore, settings: PersistenceSettings) -> None:
        self._blobs = blobs
        self._settings = settings
        self._large = asyncio.Semaphore(settings.large_results)
        self._coalescer: Coalescer[Rows, None] = Coalescer(
            Writer(pool).write,
            max_items=settings.batch_records,
            max_weight=settings.batch_bytes,
            weigh=lambda rows: rows.weight,
        )

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        """Returns once the record's rows are committed.

        Raises:
            BadMessage: a value that can't be stored.
            DependencyUnavailable: Postgres or the blob store is away.
        """
        [answer] = await self.handle_all([(message, context)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def handle_all(self, inputs: Sequence[Input]) -> list[Answer]:
        """Returns once the rows of all records are committed; a record's own error is its answer."""
        answers: list[Answer] = [()] * len(inputs)
        ready: dict[int, Rows] = {}
        apart: dict[int, Rows] = {}  # those that need the blob store
        for place, (message, context) in enumerate(inputs):
            try:
                rows, complete = self._rows(message, context)
            except FatalError:
                raise
            except Exception as error:  # a bug too belongs to the record that meets it, not to its neighbours
                answers[place] = error
            else:
                (ready if complete else apart)[place] = rows
        written: Sequence[object] = await self._coalescer.submit_all(list(ready.values()))
        stored = (self._store(*inputs[place], rows) for place, rows in apart.items())
        written = [*written, *await asyncio.gather(*stored, return_exceptions=True)]
        for place, answer in zip([*ready, *apart], written, strict=True):
            if isinstance(answer, Exception):
                answers[place] = answer
        return answers

    async def close(self) -> None:
        """Wait for the rows under way; refuse new ones."""
        await self._coalescer.close()

    def _rows(self, message: Message, context: Context) -> tuple[Rows, bool]:
        """What ``message`` writes, and whether that is all of it: a result may still lack its row."""
        to_rows = ROWS.get(type(message))
        if to_rows is None:
            raise FatalError(f"persistence was given a {type(message).__name__}")
        with encoding():
            rows = to_rows(message, context, self._settings.preview_bytes)
            if not isinstance(message, AgentResult):
                return rows, True
            stored = inline(message, self._settings.inline_result_bytes) if context.size < _LARGE else None
            if stored is not None:
                rows.result = result_row(message, stored, recorded_at(context))
            return rows, stored is not None

    async def _store(self, message: Message, context: Context, rows: Rows) -> None:
        """Write a result that is large, or whose output is in the blob store or has to go there."""
        assert isinstance(message, AgentResult), "only results have an output"
        async with self._room(message, context):
            stored = await store_output(message, self._blobs, self._settings.inline_result_bytes)
            with encoding():
                rows.result = result_row(message, stored, recorded_at(context))
            await self._coalescer.submit(rows)

    @asynccontextmanager
    async def _room(self, result: AgentResult, context: Context) -> AsyncIterator[None]:
        """Only so many results that are loaded from a blob, or large themselves, are in memory at a time."""
        if result.output_ref is None and context.size < _LARGE:
            yield
            return
        async with self._large:
            yield

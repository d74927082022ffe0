"""Workflows as a part of orchestration: their processor, what is listening for events, and the clock, over one pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from headrace.blobs import BlobStore
from headrace.control.cancellations import PostgresCancellations
from headrace.runtime.api import Send
from headrace.runtime.publisher import Publisher
from headrace.workflows.clock import running_clock
from headrace.workflows.listening import followed
from headrace.workflows.processor import WorkflowProcessor
from headrace.workflows.repository import WorkflowRepository
from headrace.workflows.runs import WorkflowRuns

_PUBLISH_TIMEOUT_S: Final = 10.0


@asynccontextmanager
async def running_workflows(
    pool: asyncpg.Pool, publisher: Publisher, blobs: BlobStore
) -> AsyncIterator[WorkflowProcessor]:
    """The part, with its background work running."""

    async def publish(sends: Sequence[Send]) -> None:
        await publisher.publish(sends, timeout_s=_PUBLISH_TIMEOUT_S)

    repository, runs, cancellations = WorkflowRepository(pool), WorkflowRuns(pool), PostgresCancellations(pool)
    async with followed(pool) as listening, running_clock(pool, publish):
        yield WorkflowProcessor(repository, runs, cancellations, listening, blobs)

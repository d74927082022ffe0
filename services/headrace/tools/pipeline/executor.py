"""The tool: get the rows, run the steps over them, give the result small.

Every result is in the blob store, under a reference that the next call may take as ``input_ref``. Beside the reference are the rows
themselves where they fit into ``inline_bytes``, and the first of them where not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.preview import sample
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import GuardedClient
from headrace.messages.base import JsonObject
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.tools.pipeline.fetch import Fetched, fetch, load
from headrace.tools.pipeline.join import Join, joined
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.pipeline.jq.program import JqProgram
from headrace.tools.pipeline.plan import SOURCE, Plan, Step, make_plan, step_failure
from headrace.tools.pipeline.rows import Rows, StepError, encoded, rows_of
from headrace.tools.pipeline.table import Table
from headrace.toolspecs import Spec
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE

P = ParamSpec("P")
T = TypeVar("T")
_IN_THREAD: Final = 2_000  # rows past which a step leaves the event loop
_SAMPLE_ROWS: Final = 5


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """``max_rows`` of any table; ``max_result_bytes`` of the stored result, and four times as much of joined rows;
    ``inline_bytes`` of what goes into a record.
    """

    timeout_s: float = 60.0
    max_rows: int = 100_000
    max_result_bytes: int = 10_000_000
    inline_bytes: int = 2_048


class Executed(NamedTuple):
    """``content`` is the result as the model gets it; ``fresh_s``: see ``Fetched``."""

    content: JsonObject
    fresh_s: float | None


class ExecutePipeline:
    """``execute_pipeline`` over a guarded client, a blob store and a pool of jq processes."""

    def __init__(
        self, client: GuardedClient, blobs: BlobStore, jq: JqPool, limits: PipelineLimits | None = None
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._jq = jq
        self._limits = limits or PipelineLimits()

    @property
    def spec(self) -> Spec:
        return EXECUTE_PIPELINE

    @property
    def timeout_s(self) -> float:
        return self._limits.timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        return ToolOutput((await self.execute(arguments, context)).content)

    async def execute(self, arguments: JsonObject, context: ToolContext) -> Executed:
        """``run``, and how long the result may be given again."""
        ref: str | None = arguments.get("input_ref")
        plan = make_plan(arguments["pipeline"], has_input=ref is not None)
        data, fresh_s = await self._source(plan, ref, context)
        for step in plan.steps:
            data = await self._applied(step, data, context.tenant)
        return Executed(await self._dataset(data, context.tenant), fresh_s)

    async def _source(self, plan: Plan, ref: str | None, context: ToolContext) -> Fetched:
        """A table, or the document as it came where the first step wants that."""
        if plan.begins_with_join:
            return Fetched(Table([]))
        try:
            fetched = (
                await fetch(self._client, plan.request, context)
                if plan.request is not None
                else Fetched(await load(TenantBlobs(self._blobs, context.tenant), ref or ""))
            )
            return fetched if plan.begins_with_jq else fetched._replace(document=self._table(fetched.document))
        except StepError as error:
            if plan.request is not None:
                raise step_failure(error, 0, SOURCE) from None
            raise ToolFailure(error.type, str(error), retryable=error.retryable) from None

    async def _applied(self, step: Step, data: Any, tenant: str) -> Table:
        try:
            match step.work:
                case JqProgram(query):
                    given = data.rows() if isinstance(data, Table) else data
                    return self._table(await self._jq.rows(query, given))
                case Join() as join:
                    return await self._joined(join, data, TenantBlobs(self._blobs, tenant))
                case transform:
                    return await _calculated(len(data), transform, data)
        except StepError as error:
            raise step_failure(error, step.index, step.name) from None

    async def _joined(self, join: Join, table: Table, blobs: BlobStore) -> Table:
        left = table if join.left is None else self._table(await load(blobs, join.left, "left"))
        right = table if join.right is None else self._table(await load(blobs, join.right, "right"))
        most = {"max_rows": self._limits.max_rows, "max_bytes": 4 * self._limits.max_result_bytes}

        def work() -> Table:
            return Table(joined(left.rows(), right.rows(), join.on, **most))

        return await _calculated(len(left) + len(right), work)

    def _table(self, document: Any) -> Table:
        return Table(rows_of(document, self._limits.max_rows))

    async def _dataset(self, table: Table, tenant: str) -> JsonObject:
        """``{type, row_count, rows, result_ref}``, or with ``sample`` instead of ``rows``."""

        def result() -> tuple[Rows, bytes]:
            rows = table.rows()
            return rows, encoded(rows, self._limits.max_result_bytes)

        try:
            rows, data = await _calculated(len(table), result)
        except StepError as error:
            raise ToolFailure(error.type, f"the result {error}") from None
        ref = await TenantBlobs(self._blobs, tenant).put(data)
        whole: JsonObject = {"type": "dataset", "row_count": len(rows), "result_ref": ref}
        inline = self._limits.inline_bytes
        if len(data) <= inline and len(orjson.dumps(whole | {"rows": rows})) <= inline:
            return whole | {"rows": rows}
        return whole | {"sample": sample(rows, _SAMPLE_ROWS, inline // 2)}


async def _calculated(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work`` over so many rows; past a few thousand outside the event loop."""
    if size <= _IN_THREAD:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)

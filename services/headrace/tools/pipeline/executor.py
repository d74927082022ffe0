"""The tool: get the rows, run the steps over them, give the result small.

A result that fits into ``inline_bytes`` is given whole; a larger one is put into the blob store, and its first rows
go beside the reference, which the next call may take as ``input_ref``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import GuardedClient
from headrace.messages.base import JsonObject
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.tools.pipeline.fetch import fetch, load
from headrace.tools.pipeline.plan import SOURCE, Plan, Step, make_plan, step_failure
from headrace.tools.pipeline.rows import Rows, StepError, encoded, rows_of
from headrace.tools.preview import sample
from headrace.toolspecs import Spec
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE

_IN_THREAD: Final = 2_000  # rows past which a step leaves the event loop
_SAMPLE_ROWS: Final = 5


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """``max_rows`` of any table; ``max_result_bytes`` of the stored result; ``inline_bytes`` of what goes into a
    record.
    """

    timeout_s: float = 60.0
    max_rows: int = 100_000
    max_result_bytes: int = 10_000_000
    inline_bytes: int = 2_048


class ExecutePipeline:
    """``execute_pipeline`` over a guarded client and a blob store."""

    def __init__(self, client: GuardedClient, blobs: BlobStore, limits: PipelineLimits | None = None) -> None:
        self._client = client
        self._blobs = blobs
        self._limits = limits or PipelineLimits()

    @property
    def spec(self) -> Spec:
        return EXECUTE_PIPELINE

    @property
    def timeout_s(self) -> float:
        return self._limits.timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        ref: str | None = arguments.get("input_ref")
        plan = make_plan(arguments["pipeline"], has_input=ref is not None)
        rows = await self._source(plan, ref, context)
        for step in plan.transforms:
            rows = await _applied(step, rows)
        return ToolOutput(await self._dataset(rows, context.tenant))

    async def _source(self, plan: Plan, ref: str | None, context: ToolContext) -> Rows:
        try:
            if plan.request is not None:
                return rows_of(await fetch(self._client, plan.request, context), self._limits.max_rows)
            return rows_of(await load(TenantBlobs(self._blobs, context.tenant), ref or ""), self._limits.max_rows)
        except StepError as error:
            if plan.request is not None:
                raise step_failure(error, 0, SOURCE) from None
            raise ToolFailure(error.type, str(error), retryable=error.retryable) from None

    async def _dataset(self, rows: Rows, tenant: str) -> JsonObject:
        """``{type, row_count, rows}``, or ``{type, row_count, sample, result_ref}``."""
        data = encoded(rows)
        whole: dict[str, Any] = {"type": "dataset", "row_count": len(rows)}
        if (
            len(data) <= self._limits.inline_bytes
            and len(orjson.dumps(whole | {"rows": rows})) <= self._limits.inline_bytes
        ):
            return whole | {"rows": rows}
        if len(data) > self._limits.max_result_bytes:
            raise ToolFailure(
                "too_large",
                f"the result has {len(data)} bytes, more than {self._limits.max_result_bytes}: select or filter",
            )
        ref = await TenantBlobs(self._blobs, tenant).put(data)
        return whole | {"sample": sample(rows, _SAMPLE_ROWS, self._limits.inline_bytes // 2), "result_ref": ref}


async def _applied(step: Step, rows: Rows) -> Rows:
    try:
        if len(rows) <= _IN_THREAD:
            return step.apply(rows)
        return await asyncio.to_thread(step.apply, rows)
    except StepError as error:
        raise step_failure(error, step.index, step.name) from None

"""``execute_pipeline`` with a memory: results that may be given again are, and each use is counted.

Neither may fail a call. Both are asked of Postgres with little patience, and while it is away pipelines are computed
and not counted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import orjson

from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError, HeadraceError
from headrace.observe.logging import get_logger
from headrace.toolbox.cache import Cached, PipelineCache
from headrace.toolbox.canonical import cache_key, canonical, digest_of, fetches, has_effects
from headrace.toolbox.naming import describe, name_of
from headrace.toolbox.usage import MAX_STEPS_BYTES, PipelineUsage, Use
from headrace.tools.api import ToolContext, ToolOutput
from headrace.tools.pipeline.executor import ExecutePipeline
from headrace.toolspecs import Spec

log = get_logger(__name__)

T = TypeVar("T")
Caching = Literal["all", "inputs", "off"]
_PATIENCE_S: Final = 2.0
_CLOCK: Final = re.compile(r"\bnow\b|\blocaltime\b|\bstrflocaltime\b")


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """``caching``: every pipeline without effects, only those that fetch nothing, or none. ``ttl_s``: seconds that a
    result is kept. ``promote_after`` uses a pipeline becomes a composite tool (0: never).
    """

    caching: Caching = "all"
    ttl_s: float = 3_600.0
    promote_after: int = 2


class RememberedPipelines:
    """A tool in front of another that executes."""

    def __init__(
        self, inner: ExecutePipeline, cache: PipelineCache, usage: PipelineUsage, limits: MemoryLimits | None = None
    ) -> None:
        self._inner = inner
        self._cache = cache
        self._usage = usage
        self._limits = limits or MemoryLimits()

    @property
    def spec(self) -> Spec:
        return self._inner.spec

    @property
    def timeout_s(self) -> float:
        return self._inner.timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        pipeline: Sequence[JsonObject] = arguments["pipeline"]
        steps = canonical(pipeline)
        output = await self._output(arguments, steps, context)
        if len(steps) <= MAX_STEPS_BYTES and not has_effects(pipeline):
            await self._count(pipeline, steps, context)
        return output

    async def _output(self, arguments: JsonObject, steps: bytes, context: ToolContext) -> ToolOutput:
        if not self._may_cache(arguments["pipeline"]):
            return await self._inner.run(arguments, context)
        key = cache_key(steps, arguments.get("input_ref"), context.domains)
        if hit := await _tried(self._cache.get(context.tenant, key), "pipeline_cache_not_read"):
            return _given_again(hit)
        done = await self._inner.execute(arguments, context)
        seconds = self._limits.ttl_s if done.fresh_s is None else min(self._limits.ttl_s, done.fresh_s)
        if seconds > 0:
            content = orjson.dumps(done.content)
            await _tried(self._cache.put(context.tenant, key, content, seconds), "pipeline_cache_not_written")
        return ToolOutput(done.content)

    def _may_cache(self, pipeline: Sequence[JsonObject]) -> bool:
        if self._limits.caching == "off" or has_effects(pipeline) or _asks_the_clock(pipeline):
            return False
        return self._limits.caching == "all" or not fetches(pipeline)

    async def _count(self, pipeline: Sequence[JsonObject], steps: bytes, context: ToolContext) -> None:
        digest = digest_of(steps)
        use = Use(
            tenant=context.tenant,
            call_key=context.idempotency_key,
            run_id=context.run_id,
            agent=context.agent,
            digest=digest,
            name=name_of(pipeline, digest),
            description=describe(pipeline),
            steps=steps,
        )
        if await _tried(self._usage.count(use, self._limits.promote_after), "pipeline_use_not_counted"):
            log.info("pipeline_promoted", tool=use.name, run_id=context.run_id)


def _given_again(hit: Cached) -> ToolOutput:
    """The result as it was, and since when: a model should know that it is not of this moment."""
    content = orjson.loads(hit.content) | {"cached_at": hit.stored_at.isoformat(timespec="seconds")}
    return ToolOutput(content, cache_hit=True)


def _asks_the_clock(pipeline: Sequence[JsonObject]) -> bool:
    return any(_CLOCK.search(str(step.get("query", ""))) for step in pipeline)


async def _tried(work: Awaitable[T], event: str) -> T | None:
    """What ``work`` gives, or None (and a line in the log) where the memory is away."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await work
    except FatalError:
        raise
    except (HeadraceError, TimeoutError) as error:
        log.warning(event, reason=str(error) or "no answer in time")
        return None

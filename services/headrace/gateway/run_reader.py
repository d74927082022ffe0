"""``RunReader``, ``UsageReader``, ``SessionReader`` over ``headrace.index``: the gateway's tenant filled in, views as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from headrace.gateway.ports import JsonDict, RunEvent, RunFilters, RunPage
from headrace.index import RunIndex, RunView, SessionIndex, StepView, UsageIndex


class IndexedRuns:
    """Reads of one tenant."""

    def __init__(self, index: RunIndex, tenant: str) -> None:
        self._index = index
        self._tenant = tenant

    async def run(self, run_id: str) -> JsonDict | None:
        view = await self._index.run(self._tenant, run_id)
        return None if view is None else _run(view)

    async def runs(self, filters: RunFilters, *, limit: int, cursor: str | None) -> RunPage:
        page = await self._index.runs(self._tenant, **asdict(filters), limit=limit, cursor=cursor)
        return RunPage([_run(view) for view in page.runs], page.cursor)

    async def ended(self, run_ids: Sequence[str]) -> set[str]:
        return await self._index.ended(self._tenant, run_ids)

    async def history(self, run_id: str) -> list[RunEvent]:
        return [_event(run_id, step) for step in await self._index.steps(self._tenant, run_id)]

    async def result(self, result_id: str) -> JsonDict | None:
        stored = await self._index.result(self._tenant, f"artifact://{result_id}")
        return None if stored is None else stored.model_dump(mode="json")


class IndexedUsage:
    """Reads of one tenant."""

    def __init__(self, index: UsageIndex, tenant: str) -> None:
        self._index = index
        self._tenant = tenant

    async def usage(self, *, agent: str | None, since: str, window: str | None) -> JsonDict:
        page = await self._index.usage(self._tenant, agent=agent, since=since, window=window)
        return page.model_dump(mode="json")


class IndexedSessions:
    """Reads of one tenant."""

    def __init__(self, index: SessionIndex, tenant: str) -> None:
        self._index = index
        self._tenant = tenant

    async def sessions(self, *, limit: int) -> JsonDict:
        return (await self._index.sessions(self._tenant, limit=limit)).model_dump(mode="json")

    async def session(self, session_id: str) -> JsonDict | None:
        view = await self._index.session(self._tenant, session_id)
        return None if view is None else view.model_dump(mode="json")


def _run(view: RunView) -> JsonDict:
    """``result_url`` is where the whole result is; ``outcome`` is a bounded preview of it."""
    shown = view.model_dump(mode="json", exclude={"tenant"} if view.records else {"tenant", "records", "family"})
    shown["usage"] = {
        name: shown.pop(name)
        for name in (
            "model_calls",
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cost_usd",
        )
    }
    shown["result_url"] = result_url(view.result_ref) if view.result_ref else None
    return shown


def result_url(ref: str) -> str:
    """The path that resolves a reference: ``artifact://ID`` and ``cas://sha256:HEX`` without their scheme."""
    return "/v1/results/" + ref.removeprefix("artifact://").removeprefix("cas://")


def _event(run_id: str, step: StepView) -> RunEvent:
    return RunEvent(
        type=step.kind,
        run_id=run_id,
        topic=step.topic,
        partition=step.partition,
        offset=step.offset,
        timestamp_ms=round(step.at.timestamp() * 1000),
        step=step.step,
        data=step.summary,
    )

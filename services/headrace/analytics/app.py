"""The service: a Faust app and the loop beside it, made anew when Faust gives up.

One loop counts and flushes in turn, so nothing of the table changes between being read and being stored. Faust crashes on errors
that pass (a coordinator that moves at the wrong moment); since all of its state is in the changelog, the answer is a new app.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import Any, Final

from headrace.analytics.entries import is_other_kind
from headrace.analytics.processor import Analytics
from headrace.analytics.settings import AnalyticsSettings
from headrace.analytics.store import UsageStore
from headrace.messages.errors import DependencyUnavailable, FatalError, HeadraceError
from headrace.messages.headers import RawHeaders
from headrace.observe import metrics
from headrace.observe.logging import get_logger
from headrace.pipeline import Stage
from headrace.runtime.faust_app import FaustApp
from headrace.runtime.faust_setup import Shape, shape_of
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)

_TABLE: Final = "usage"
_SPARE_AFTER_S: Final = 15.0
_PAUSE_S: Final = 1.0


class AnalyticsService:
    """A ``Component``.

    Raises (from ``wait``):
        FatalError: it can't go on without an operator.
    """

    def __init__(
        self, stage: Stage, settings: MeshSettings, own: AnalyticsSettings, wire: Wire, store: UsageStore
    ) -> None:
        self.name = stage.service
        self._stage = stage
        self._settings = settings
        self._own = own
        self._wire = wire
        self._store = store
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._faust: FaustApp | None = None
        self._joined = math.inf
        self._restarts = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="analytics")

    async def wait(self) -> None:
        assert self._task is not None, "not started"
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Finish the batch at hand, store and announce what changed, leave the group."""
        self._stopping.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=self._settings.drain_seconds)
        if not done:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ready(self) -> bool:
        """It has partitions, or has waited for some so long that the others must have them all: then it is a spare."""
        if self._faust is None or self._task is None or self._task.done():
            return False
        return bool(self._faust.partitions()) or time.monotonic() - self._joined > _SPARE_AFTER_S

    def status(self) -> dict[str, Any]:
        faust = self._faust
        return {
            "group": self._settings.physical_topic(self._stage.group),
            "partitions": len(faust.partitions()) if faust else 0,
            "lag": faust.lag() if faust else 0,
            "restarts": self._restarts,
        }

    async def _run(self) -> None:
        await self._wire.open()
        while not self._stopping.is_set():
            shape = await self._shape()
            if shape is None:
                return
            faust = FaustApp(
                self._settings,
                self._stage,
                table=_TABLE,
                shape=shape,
                commit_s=self._own.commit_seconds,
                unwanted=self._is_unwanted,
            )
            try:
                await self._live(faust)
            except DependencyUnavailable as error:
                self._restarts += 1
                log.warning("faust_restarts", service=self.name, reason=str(error))
                await self._pause()
            finally:
                self._faust = None
                await faust.stop()

    async def _shape(self) -> Shape | None:
        """That of the input topic, once it is there; None if it is time to stop."""
        while not self._stopping.is_set():
            try:
                return await asyncio.to_thread(shape_of, self._settings, self._stage)
            except DependencyUnavailable as error:
                log.warning("kafka_unavailable", service=self.name, error=str(error))
                await self._pause()
        return None

    def _is_unwanted(self, headers: RawHeaders) -> bool:
        """Most entries: they are done with a look at their headers."""
        unwanted = is_other_kind(headers)
        if unwanted:
            metrics.RECORDS.labels(self.name, self._stage.consumes[0], "done").inc()
        return unwanted

    async def _live(self, faust: FaustApp) -> None:
        """Count with ``faust`` until it is time to stop. Raises ``DependencyUnavailable`` if Faust gave up."""
        analytics = Analytics(self._stage, self._settings, self._own, faust, self._wire, self._store)
        starting = asyncio.create_task(faust.start())
        self._faust = faust
        self._joined = time.monotonic()
        try:
            next_flush = 0.0
            while not self._stopping.is_set():
                self._check(faust, starting)
                batch = await faust.batch(self._own.batch_records, min(0.2, self._own.flush_seconds))
                if batch is not None:
                    await analytics.count(batch)
                if time.monotonic() >= next_flush and faust.recoveries:
                    await self._flush(analytics)
                    next_flush = time.monotonic() + self._own.flush_seconds
            if faust.recoveries:
                await self._flush(analytics)
        finally:
            starting.cancel()
            with contextlib.suppress(BaseException):
                await starting

    def _check(self, faust: FaustApp, starting: asyncio.Task[None]) -> None:
        failure = faust.failure()
        if failure is None and starting.done():
            failure = starting.exception()
        if failure is not None:
            raise DependencyUnavailable(f"Faust gave up: {type(failure).__name__}")

    async def _flush(self, analytics: Analytics) -> None:
        try:
            await analytics.flush()
        except FatalError:
            raise
        except HeadraceError as error:
            log.warning("flush_waits", service=self.name, reason=str(error))

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _PAUSE_S)

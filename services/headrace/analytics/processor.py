"""One round of the work: count a batch, and store and announce what changed. Knows Faust only as ``runtime.faust_app``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from headrace.analytics import book
from headrace.analytics.entries import KIND, audit_event, entry_of, part_of
from headrace.analytics.settings import AnalyticsSettings
from headrace.analytics.store import UsageStore
from headrace.analytics.windows import Entry, WindowKey, count
from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Encoded
from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.messages.usage import UsageWindow
from headrace.observe import metrics
from headrace.observe.logging import get_logger
from headrace.pipeline import Stage
from headrace.runtime.api import Send
from headrace.runtime.deadletter import CAUSE, cause_of, dead_letter
from headrace.runtime.faust_app import Batch, FaustApp
from headrace.runtime.poller import Record
from headrace.runtime.retry import DeadLetterLimit
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)

_PAUSE_S: Final = 0.5
_AT_A_TIME: Final = 500  # windows in one database transaction


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Analytics:
    """Counts for as long as its Faust app lives; what it keeps in memory beside the table are notes of what is to be stored."""

    def __init__(
        self,
        stage: Stage,
        settings: MeshSettings,
        own: AnalyticsSettings,
        faust: FaustApp,
        wire: Wire,
        store: UsageStore,
        *,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._own = own
        self._rules = own.rules()
        self._faust = faust
        self._wire = wire
        self._store = store
        self._now = now
        self._limit = DeadLetterLimit()
        self._dirty: set[tuple[str, WindowKey]] = set()
        self._recoveries = 0

    async def count(self, batch: Batch) -> None:
        """Count ``batch`` and acknowledge it. Waits out what is away; gives up, unacknowledged, if the partitions are lost."""
        try:
            entries, dead = await self._read(batch)
        except DependencyUnavailable:
            return  # the partitions are lost, and whoever has them now reads it again
        while await self._faust.settled(batch):
            try:
                await self._commit(batch, entries, dead)
            except DependencyUnavailable as error:
                log.warning("counting_waits", service=self._stage.service, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _commit(self, batch: Batch, entries: dict[str, list[Entry]], dead: Sequence[Encoded]) -> None:
        changes = {
            part: count(
                of_part,
                book.mark_of(self._faust, part),
                partial(book.state_of, self._faust, part),
                self._rules,
                self._now(),
            )
            for part, of_part in entries.items()
        }
        await self._faust.send(dead)
        await self._faust.write([write for part, change in changes.items() for write in book.writes_of(part, change)])
        if self._faust.stale(batch):
            return
        self._faust.ack(batch)
        for part, change in changes.items():
            self._dirty.update((part, window) for window in change.states)
            for verdict, number in change.verdicts.items():
                metrics.USAGE_RUNS.labels(verdict.value).inc(number)
        self._measure(batch, dead)

    def _measure(self, batch: Batch, dead: Sequence[Encoded]) -> None:
        service, topic = self._stage.service, self._stage.consumes[0]
        metrics.RECORDS.labels(service, topic, "done").inc(len(batch.records) - len(dead))
        for record in dead:
            metrics.RECORDS.labels(service, topic, "dead_lettered").inc()
            metrics.DEAD_LETTERS.labels(service, dict(record.headers)[CAUSE].decode()).inc()

    async def _read(self, batch: Batch) -> tuple[dict[str, list[Entry]], list[Encoded]]:
        """What of ``batch`` is counted, by part, and dead letters for what can't be read."""
        entries: dict[str, list[Entry]] = {}
        dead: list[Encoded] = []
        for record in batch.records:
            headers = record_headers.decode(record.headers)
            try:
                event = audit_event(await self._decoded(batch, record, headers))
                if event.kind == KIND:
                    entry = entry_of(record.offset, event, self._now())
                    entries.setdefault(part_of(record.partition, event), []).append(entry)
            except (DependencyUnavailable, FatalError):
                raise
            except Exception as error:  # also what nobody foresaw: no record may stop the ones behind it for good
                dead.append(self._bury(record, error))
            else:
                self._limit.note(dead=False)
        return entries, dead

    async def _decoded(self, batch: Batch, record: Record, headers: Mapping[str, str]) -> Message:
        while True:
            try:
                return await self._wire.decode(record.topic, record.key, record.value, headers)
            except DependencyUnavailable as error:
                if self._faust.stale(batch) or self._faust.failure() is not None:
                    raise
                log.warning("reading_waits", service=self._stage.service, reason=str(error))
                await asyncio.sleep(_PAUSE_S)

    def _bury(self, record: Record, error: Exception) -> Encoded:
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        log.warning("record_dead_lettered", service=self._stage.service, **where, cause=cause_of(error))
        if self._limit.note(dead=True):
            raise FatalError("dead-letters too much: look at the last deploy before you start it again")
        return dead_letter(record, error, topic=self._stage.dead_letters, group=self._stage.group, attempts=1)

    # --- what changed ----------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Store and announce what changed, and forget what is closed. What fails is done next time.

        After each recovery all of the table counts as changed: what was counted just before a crash may not be stored.
        """
        restored = self._faust.recoveries
        windows, marks = book.read(self._faust)
        if restored != self._recoveries:
            self._dirty = {(one.part, one.window) for one in windows}
            self._recoveries = restored
        changed = [one for one in windows if (one.part, one.window) in self._dirty]
        for start in range(0, len(changed), _AT_A_TIME):
            stored = changed[start : start + _AT_A_TIME]
            await self._store.save(stored)
            self._dirty.difference_update((one.part, one.window) for one in stored)
        owned = self._faust.partitions()
        closed_ms = {part: self._rules.closed_ms(mark) for part, mark in marks.items()}
        closed_ms = {part: closed for part, closed in closed_ms.items() if book.partition_of(part) in owned}
        await self._store.progress(closed_ms)
        await self._store.finalise(
            grace=timedelta(milliseconds=self._rules.grace_ms), idle=timedelta(seconds=self._own.idle_seconds)
        )
        while await self._store.announce(self._announce, _AT_A_TIME) == _AT_A_TIME:
            pass
        done = [one for one in windows if one.window.end_ms <= closed_ms.get(one.part, 0)]
        await self._faust.write([book.deletion(one) for one in done])
        metrics.USAGE_OPEN.set(len(windows) - len(done))
        metrics.LAG.labels(self._stage.service, self._stage.consumes[0]).set(self._faust.lag())

    async def _announce(self, windows: Sequence[UsageWindow]) -> None:
        await self._faust.send(await self._wire.encode_all([Send(window) for window in windows], {}))
        metrics.USAGE_WINDOWS.inc(len(windows))

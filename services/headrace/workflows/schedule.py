"""When a schedule is due: every so often, or by calendars. Pure.

A calendar is a cron expression of five fields (minute, hour, day of the month, month, day of the week) in a time zone, read as
Debian's cron reads it. Where clocks change, an expression with fixed hours and minutes is due once on each of its days: what falls
into the hour that is left out is due at the end of it, what falls into the hour that comes twice the first time. One whose minutes
or hours begin with a star is due whenever the clock shows such a time: never in an hour that is left out, twice in one that comes
twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from headrace.messages.base import Part
from headrace.workflows.definition import WorkflowDefinition, WorkflowTrigger

MAX_CALENDARS: Final = 20  # of one workflow
_FIELDS: Final = 5
_LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


class Calendar(Part, frozen=True, kw_only=True):
    """``timezone`` is a name of the IANA database."""

    cron: str
    timezone: str = "UTC"

    def after(self, time: datetime) -> datetime | None:
        """The first time that it is due past ``time``; None if that is not within fifty years."""
        due = CronSim(self.cron, time.astimezone(ZoneInfo(self.timezone)))
        return next((found for found in due if found.astimezone(UTC) > time), None)


class Schedule(Part, frozen=True, kw_only=True):
    """Due every ``every_s`` seconds, or whenever one of ``calendars`` is."""

    every_s: int | None = None
    calendars: tuple[Calendar, ...] = ()

    def first(self, now: datetime) -> datetime | None:
        """When it is due first, if it begins ``now``."""
        return self.following(now, now)

    def following(self, due: datetime, now: datetime) -> datetime | None:
        """When it is due after ``due``, and past ``now`` too: what passed in between is left out. None: never again."""
        past = max(due, now)
        if self.every_s is not None:
            every = timedelta(seconds=self.every_s)
            return due + every * ((past - due) // every + 1)
        times = [time.astimezone(UTC) for calendar in self.calendars if (time := calendar.after(past))]
        return min(times, default=None)

    def upcoming(self, due: datetime | None, now: datetime, count: int) -> Iterator[datetime]:
        """The next ``count`` times from ``due`` on, which is late if it is before ``now``."""
        while due is not None and count > 0:
            yield due
            due, count = self.following(due, now), count - 1


def schedule_of(definition: WorkflowDefinition) -> Schedule:
    """What its triggers make together: the shortest interval, or all calendars."""
    every = [trigger.every_s for trigger in definition.triggers if trigger.every_s is not None]
    calendars = (Calendar(cron=one.cron, timezone=one.timezone or "UTC") for one in definition.triggers if one.cron)
    return Schedule(every_s=min(every, default=None), calendars=tuple(calendars))


def calendar_faults(trigger: WorkflowTrigger) -> Iterator[tuple[str, str]]:
    """What is wrong with the calendar of ``trigger``: fields of it, each with the reason."""
    if trigger.timezone is not None and trigger.timezone not in _timezones():
        yield "timezone", "not a name of the IANA time zone database, such as Europe/Zurich"
    if trigger.cron is not None and (reason := _cron_fault(trigger.cron)):
        yield "cron", reason


def schedule_faults(triggers: Iterable[WorkflowTrigger]) -> Iterator[str]:
    """What is wrong with all schedules of a workflow together."""
    scheduled = [trigger for trigger in triggers if trigger.type == "schedule"]
    calendars = sum(trigger.cron is not None for trigger in scheduled)
    if calendars and any(trigger.every_s is not None for trigger in scheduled):
        yield "a workflow's schedules are either intervals (every_s) or calendars (cron)"
    if calendars > MAX_CALENDARS:
        yield f"a workflow has at most {MAX_CALENDARS} calendars, not {calendars}"


def _cron_fault(cron: str) -> str | None:
    if len(cron.split()) != _FIELDS or not cron.isascii():
        return "a cron expression has five fields: minute, hour, day of the month, month, day of the week"
    try:
        due = next(CronSim(cron, _LONG_AGO), None)
    except CronSimError as error:
        return f"not a cron expression: {str(error).lower()}"
    return "this is never due" if due is None else None


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())

"""When schedules are due: where clocks change, and after times that nobody saw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from headrace.workflows.definition import WorkflowTrigger
from headrace.workflows.schedule import Calendar, Schedule, calendar_faults

SPRING = datetime(2027, 3, 27, 23, 30, tzinfo=UTC)  # 00:30 in Zurich: at 02:00 clocks go to 03:00
AUTUMN = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # 00:30 in Zurich: at 03:00 clocks go to 02:00


def zurich(*crons: str) -> Schedule:
    return Schedule(calendars=tuple(Calendar(cron=cron, timezone="Europe/Zurich") for cron in crons))


def due(schedule: Schedule, now: datetime, count: int) -> list[str]:
    """Its next times after ``now``: day, hour and minute in UTC."""
    return [f"{time:%d %H:%M}" for time in schedule.upcoming(schedule.first(now), now, count)]


@pytest.mark.parametrize(
    ("cron", "now", "times"),
    [
        ("0 8 * * MON-FRI", SPRING, ["29 06:00", "30 06:00"]),  # it is Saturday, in winter
        ("0 8 * * MON-FRI", AUTUMN, ["26 07:00", "27 07:00"]),
        ("30 2 * * *", SPRING, ["28 01:00", "29 00:30"]),  # left out, so when the hour would have ended
        ("30 2 * * *", AUTUMN, ["25 00:30", "26 01:30"]),  # comes twice, is due once
        ("0-59/30 2 * * *", SPRING, ["28 01:00", "29 00:00", "29 00:30"]),  # and once for all that was left out
        ("*/30 * * * *", SPRING, ["28 00:00", "28 00:30", "28 01:00"]),
        ("*/30 2 * * *", SPRING, ["29 00:00", "29 00:30"]),
        ("*/30 2 * * *", AUTUMN, ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"]),
        ("0 12 29 2 *", SPRING, ["29 11:00", "29 11:00"]),
    ],
)
def test_a_calendar_where_clocks_change(cron: str, now: datetime, times: list[str]) -> None:
    assert due(zurich(cron), now, len(times)) == times


def test_an_hour_that_comes_twice_has_no_time_that_is_past_already() -> None:
    second = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15, for the second time
    assert due(zurich("30 2 * * *"), second, 1) == ["26 01:30"]


def test_what_several_calendars_say_together_and_what_passed_meanwhile() -> None:
    schedule = zurich("0 8 * * *", "0 7 * * SUN")
    assert due(schedule, SPRING, 3) == ["28 05:00", "28 06:00", "29 06:00"]
    late = schedule.following(SPRING, SPRING + timedelta(days=3))
    assert late == datetime(2027, 3, 31, 6, tzinfo=UTC)
    every = Schedule(every_s=60)
    assert every.following(SPRING, SPRING) == SPRING + timedelta(seconds=60)
    assert every.following(SPRING, SPRING + timedelta(seconds=150)) == SPRING + timedelta(seconds=180), "in its rhythm"
    assert list(every.upcoming(SPRING, SPRING + timedelta(seconds=150), 2)) == [SPRING, SPRING + timedelta(seconds=180)]
    assert Schedule().first(SPRING) is None


ZONES = st.sampled_from(["UTC", "Europe/Zurich", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"])
FIELD = st.sampled_from(["*", "*/7", "1", "2", "0-3", "1,2,30", "59"])


@examples(max_examples=60, deadline=None)
@given(st.lists(FIELD, min_size=2, max_size=2), ZONES, st.integers(0, 400 * 86_400))
def test_time_goes_on(fields: list[str], zone: str, second: int) -> None:
    calendar = Calendar(cron=f"{' '.join(fields)} * * *", timezone=zone)
    assume(not list(calendar_faults(WorkflowTrigger(type="schedule", cron=calendar.cron, timezone=zone))))
    now = AUTUMN + timedelta(seconds=second)
    schedule = Schedule(calendars=(calendar,))
    times = [now, *schedule.upcoming(schedule.first(now), now, 6)]
    assert len(times) == 7
    assert times == sorted(set(times))
    assert all(time.utcoffset() == timedelta(0) for time in times)


@examples(max_examples=200, deadline=None)
@given(st.lists(st.text("0123456789*,/-#LWMONFEB?@", max_size=8), min_size=5, max_size=5))
def test_any_text_is_a_calendar_or_refused(fields: list[str]) -> None:
    cron = " ".join(fields)
    if not list(calendar_faults(WorkflowTrigger(type="schedule", cron=cron))):
        assert Calendar(cron=cron).after(datetime(2020, 1, 1, tzinfo=UTC))

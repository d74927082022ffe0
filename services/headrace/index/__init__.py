"""The index of runs, read: what gateway, CLI and console ask Postgres. ``RunIndex`` is the way in."""

from headrace.index.run_index import RunIndex
from headrace.index.sessions import SessionIndex
from headrace.index.usage import UsageIndex
from headrace.index.views import (
    Counts,
    EventPage,
    EventView,
    RunPage,
    RunView,
    SessionPage,
    SessionView,
    StepView,
    StoredResult,
    UsagePage,
    UsageView,
)

__all__ = [
    "Counts",
    "EventPage",
    "EventView",
    "RunIndex",
    "RunPage",
    "RunView",
    "SessionIndex",
    "SessionPage",
    "SessionView",
    "StepView",
    "StoredResult",
    "UsageIndex",
    "UsagePage",
    "UsageView",
]

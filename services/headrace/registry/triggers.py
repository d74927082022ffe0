"""Which events make a job: shell-style patterns on source and type, then a filter over the canonical event (``filters``).

Matching never fails: a filter that cannot be evaluated on some event (a function given the wrong type, say) counts as no match, is
logged and counted, and holds up neither the event nor the other agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from headrace.messages.agent import Trigger
from headrace.messages.event import Event
from headrace.observe.logging import get_logger
from headrace.observe.metrics import TRIGGER_ERRORS
from headrace.registry.filters import FilterFailed, InvalidFilter, compile_filter

log = get_logger(__name__)

MAX_PATTERN: Final = 512


class Problem(NamedTuple):
    """What is wrong with a trigger, and in which of its fields."""

    field: str
    message: str


def problems(trigger: Trigger) -> Iterator[Problem]:
    """Why ``trigger`` can't be published, if it can't."""
    for field, pattern in (("source", trigger.source), ("type", trigger.type)):
        if not 0 < len(pattern) <= MAX_PATTERN:
            yield Problem(field, f"a pattern has 1 to {MAX_PATTERN} characters")
    if trigger.filter is not None:
        try:
            compile_filter(trigger.filter)
        except InvalidFilter as error:
            yield Problem("filter", f"not a filter: {error}")


def match(event: Event, trigger: Trigger, *, agent: str = "") -> bool:
    """Whether ``event`` fires ``trigger``. ``agent`` names the trigger's owner in the log."""
    if not (_like(event.type, trigger.type) and _like(event.source, trigger.source)):
        return False
    if trigger.filter is None:
        return True
    try:
        return compile_filter(trigger.filter).passes(view(event))
    except (FilterFailed, InvalidFilter) as error:
        TRIGGER_ERRORS.inc()
        log.warning("trigger_filter_failed", agent_type=agent, event_uid=event.uid, error=type(error).__name__)
        return False


class Miss(NamedTuple):
    """Why a trigger does not fire. ``got`` is how far the event got: to the type (0), to the source (1), to the filter (2)."""

    got: int
    why: str


def miss(event: Event, trigger: Trigger) -> Miss | None:
    """What ``match`` says no for; None where it says yes. For people: the text may quote the event."""
    if not _like(event.type, trigger.type):
        return Miss(0, f"type {event.type} is not {trigger.type}")
    if not _like(event.source, trigger.source):
        return Miss(1, f"source {event.source} is not {trigger.source}")
    if trigger.filter is None:
        return None
    try:
        passed = compile_filter(trigger.filter).passes(view(event))
    except (FilterFailed, InvalidFilter) as error:
        return Miss(2, f"filter {trigger.filter} fails: {error}")
    return None if passed else Miss(2, f"filter {trigger.filter} is false")


@lru_cache(maxsize=8_192)  # each event asks every trigger, and types and sources come again and again
def _like(text: str, pattern: str) -> bool:
    return len(pattern) <= MAX_PATTERN and fnmatchcase(text, pattern)


def view(event: Event) -> dict[str, Any]:
    """The event as an expression sees it: the fields of the message. ``data`` is shared, not copied."""
    view = msgspec.structs.asdict(event)
    view["origin"] = msgspec.structs.asdict(event.origin)
    return view

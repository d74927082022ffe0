"""What happens to a run, and what it wants done: the two sides of the machine."""

from __future__ import annotations

from typing import Any, Literal

from headrace.messages.base import JsonObject, Part
from headrace.messages.workflow import WorkError
from headrace.workflows.definition import BodyType


class Begun(Part, frozen=True, kw_only=True):
    """The run begins."""


class Finished(Part, frozen=True, kw_only=True):
    """A piece of its work has ended."""

    work_id: str
    output: Any = None
    error: WorkError | None = None


class Woken(Part, frozen=True, kw_only=True):
    """A time has come; which one is the event's own time."""


class Signalled(Part, frozen=True, kw_only=True):
    """Somebody sent a named signal. It is kept for a node that does not wait for it yet."""

    name: str
    payload: Any = None


class Asked(Part, frozen=True, kw_only=True):
    """Somebody wants it paused, resumed or cancelled."""

    what: Literal["pause", "resume", "cancel"]


Event = Begun | Finished | Woken | Signalled | Asked


class Begin(Part, frozen=True, kw_only=True, tag_field="command", tag="begin"):
    """Start this piece of work. ``config`` is the node's, with its expressions replaced by their values."""

    work_id: str
    node: str
    type: BodyType
    config: JsonObject
    attempt: int
    timeout_s: float | None = None


class Stop(Part, frozen=True, kw_only=True, tag_field="command", tag="stop"):
    """This piece of work is not wanted any more. It may have ended already."""

    work_id: str
    type: BodyType


class End(Part, frozen=True, kw_only=True, tag_field="command", tag="end"):
    """The run has ended."""

    status: Literal["completed", "failed", "cancelled"]
    output: Any = None
    error: WorkError | None = None


Command = Begin | Stop | End

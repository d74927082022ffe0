"""The life of a replay, as a table: what may be said of a job in which state, and what it is then. Pure.

queued      waits for whoever takes it
planned     its estimate is there, and it waits for a yes
running     has begun; without a lease, somebody will take it up
completed   its report is there
failed      could not go on; ``error`` says why
cancelled   somebody ended it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

State = Literal["queued", "planned", "running", "completed", "failed", "cancelled"]
Said = Literal["plan", "begin", "complete", "fail", "cancel", "resume"]

MOVES: Final[Mapping[Said, tuple[frozenset[State], State]]] = {
    "plan": (frozenset({"queued"}), "planned"),
    "begin": (frozenset({"queued", "running"}), "running"),
    "complete": (frozenset({"running"}), "completed"),
    "fail": (frozenset({"queued", "running"}), "failed"),
    "cancel": (frozenset({"queued", "planned", "running"}), "cancelled"),
    "resume": (frozenset({"planned", "failed", "cancelled"}), "queued"),
}
OPEN: Final[frozenset[State]] = frozenset({"queued", "running"})  # somebody works on it, or will
ENDED: Final[frozenset[State]] = frozenset({"completed", "failed", "cancelled"})


def after(state: State, said: Said) -> State | None:
    """The state then; None where it may not be said. What changes nothing may always be said again."""
    allowed, then = MOVES[said]
    return then if state in allowed or state == then else None

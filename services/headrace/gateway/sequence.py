"""A run's records in the order in which they caused each other, though they come from several topics and two sources.

A record follows its cause: tool calls follow the job or the results of the step before, a wait and the results follow their calls,
the final result follows everything. One that comes before its cause waits; ``flush`` lets go of what has waited long
enough (its cause is past its retention, or was written by another program).
"""

from __future__ import annotations

from typing import Final

from headrace.gateway.ports import RunEvent

_PHASE: Final = {"job": 0, "tool_calls": 1, "wait": 1, "tool_results": 2, "result": 3}
_LAST: Final = 2**31
Rank = tuple[int, int]


def rank(event: RunEvent) -> Rank:
    """Place of a record in its run: by step, then calls before results; the job first, the result last."""
    phase = _PHASE[event.type]
    if event.type == "job":
        return (-1, phase)
    return (_LAST if event.type == "result" else event.step, phase)


class Sequence:
    """Gives each record once, by position, in causal order."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._waiting: list[RunEvent] = []
        self._ranks: set[Rank] = set()  # of what has been given

    def push(self, *events: RunEvent) -> list[RunEvent]:
        """Take in events; those that are now in order."""
        for event in events:
            if event.id not in self._seen:
                self._seen.add(event.id)
                self._waiting.append(event)
        self._waiting.sort(key=lambda event: (rank(event), event.timestamp_ms, event.offset))
        given: list[RunEvent] = []
        while self._waiting and self._follows(self._waiting[0]):
            given.append(self._give())
        return given

    @property
    def step(self) -> int:
        """The last step whose record was given; 0: none."""
        return max((step for step, phase in self._ranks if phase == 1), default=0)

    def flush(self) -> list[RunEvent]:
        """Everything that waits, in order."""
        return [self._give() for _ in range(len(self._waiting))]

    def _give(self) -> RunEvent:
        event = self._waiting.pop(0)
        self._ranks.add(rank(event))
        return event

    def _follows(self, event: RunEvent) -> bool:
        if event.type == "job":
            return True
        if event.type in ("tool_results", "wait"):
            return (event.step, 1) in self._ranks
        job = (-1, 0) in self._ranks
        unanswered = any(
            (step, 2) not in self._ranks for step, phase in self._ranks if phase == 1 and step != event.step
        )
        before = event.step - 1
        missing = before > 0 and (before, 2) not in self._ranks
        return job and not unanswered and not missing

"""What one process may still spend of an account, and how much it is given. Pure: no clock, no I/O.

    limit = spent (filed in the index) + all leases + what is left

A lease covers what its process has *reserved* for calls in flight, what it has *used* that is not filed yet, and what is
*free* for the calls to come. A call takes its reservation from what is free. As long as a call uses no more than it reserved,
what all processes have used and reserved never passes the limit. A call that uses more overdraws its lease; no call of its
process begins then until that is counted, nor one of another process once it was told (``spending`` tells it at once).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from headrace.budgets.rules import UNLIMITED, ZERO, Amount

_SHARE: Final = 8  # of what is left, one process takes this part at most, unless a single call needs more
_AHEAD: Final = 16  # calls that a lease is taken for in advance


class Turn(NamedTuple):
    """A model call that was answered, at ``at`` (seconds of a monotonic clock): ``number`` counts the run's calls from 1."""

    run_id: str
    number: int
    amount: Amount
    at: float


def granted(limit: Amount, spent: Amount, others: Amount, held: Amount, wanted: Amount) -> Amount:
    """The lease of a process that holds ``held`` (reserved or used) and wants ``wanted`` beyond it; ``others`` is what others hold.

    What is held is granted in any case: it is under way. Beyond it, no more than is left.
    """
    left = limit.minus(spent).minus(others).minus(held).at_least(ZERO)
    ahead = Amount(
        _ahead(left.tokens, wanted.tokens),
        _ahead(left.nano, wanted.nano),
    )
    lease = held.plus(ahead)
    return Amount(*(UNLIMITED if most >= UNLIMITED else part for most, part in zip(limit, lease, strict=True)))


def still_held(held: Amount, turns: Iterable[Turn], filed: Mapping[str, int]) -> Amount:
    """What is left of ``held`` when the index has the turns of the runs in ``filed`` up to those numbers."""
    for turn in turns:
        if turn.number <= filed.get(turn.run_id, 0):
            held = held.minus(turn.amount)
    return held


def _ahead(left: int, wanted: int) -> int:
    return min(left, max(wanted, min(left // _SHARE, wanted * _AHEAD)))


@dataclass(slots=True)
class Lease:
    """One account in one process. ``granted`` is counted as used by all others while the lease lasts."""

    limit: Amount
    granted: Amount = ZERO
    reserved: Amount = ZERO
    used: Amount = ZERO
    unfiled: dict[str, list[Turn]] = field(default_factory=dict)

    @property
    def held(self) -> Amount:
        return self.reserved.plus(self.used)

    @property
    def free(self) -> Amount:
        return self.granted.minus(self.held)

    def freeze(self) -> None:
        """Nothing is free until the next grant: while one is asked for, what is held must not grow unseen."""
        self.granted = self.held

    def take(self, wanted: Amount, *, rest: bool = False) -> Amount | None:
        """Reserve ``wanted``, or with ``rest`` what is left of it if anything is; None if it is not there."""
        free = self.free
        whole = free.covers(wanted)
        if not free.covers(Amount(1, 1)) or not (whole or rest):
            return None
        taken = wanted if whole else wanted.at_most(free)
        self.reserved = self.reserved.plus(taken)
        return taken

    def cancel(self, taken: Amount) -> None:
        """The call was not made, or not answered."""
        self.reserved = self.reserved.minus(taken)

    def settle(self, taken: Amount, turn: Turn) -> None:
        """The call was answered, and used this."""
        self.reserved = self.reserved.minus(taken)
        self.used = self.used.plus(turn.amount)
        self.unfiled.setdefault(turn.run_id, []).append(turn)

    def turns(self) -> list[Turn]:
        """Those that are not filed."""
        return [turn for turns in self.unfiled.values() for turn in turns]

    def file(self, filed: Mapping[str, int]) -> None:
        """The index has the turns of these runs up to these numbers: they are spent, and not held here any more."""
        for run_id, number in filed.items():
            self._keep(run_id, [turn for turn in self.unfiled.get(run_id, ()) if turn.number > number])

    def forget(self, before: float) -> int:
        """Hold nothing any more for turns that were answered before this time; how many runs that concerns."""
        old = [run_id for run_id, turns in self.unfiled.items() if turns[0].at < before]
        for run_id in old:
            self._keep(run_id, [turn for turn in self.unfiled[run_id] if turn.at >= before])
        return len(old)

    def _keep(self, run_id: str, turns: list[Turn]) -> None:
        for turn in self.unfiled.pop(run_id, ()):
            if turn not in turns:
                self.used = self.used.minus(turn.amount)
        if turns:
            self.unfiled[run_id] = turns

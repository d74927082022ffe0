"""No more is used and reserved than the limit, whoever asks, fails and dies in between: the pure ledger, several processes at
once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import event, given, settings
from hypothesis import strategies as st

from headrace.budgets.lease import Lease, Turn, granted, still_held
from headrace.budgets.rules import UNLIMITED, ZERO, Amount

LIMIT = 1_000


@dataclass
class Call:
    process: int
    taken: Amount
    turn: Turn


@dataclass
class World:
    """An account and the processes that draw on it. ``used`` is the truth: what all answered calls used."""

    leases: dict[int, Lease] = field(default_factory=dict)
    granted: dict[int, Amount] = field(default_factory=dict)  # as the account's keeper knows them
    filed: dict[str, int] = field(default_factory=dict)
    spent: Amount = ZERO
    calls: list[Call] = field(default_factory=list)
    log: list[Turn] = field(default_factory=list)  # answered, and not filed
    used: int = 0
    numbers: int = 0
    over: int = 0  # what calls used beyond their reservations

    @property
    def reserved(self) -> int:
        return sum(call.taken.tokens for call in self.calls)

    def renew(self, process: int, wanted: Amount) -> None:
        lease = self.leases.setdefault(process, Lease(Amount(LIMIT, UNLIMITED)))
        lease.freeze()
        others = ZERO
        for other, amount in self.granted.items():
            others = others.plus(amount) if other != process else others
        held = still_held(lease.held, lease.turns(), self.filed)
        lease.granted = self.granted[process] = granted(lease.limit, self.spent, others, held, wanted)
        lease.file(self.filed)

    def hidden(self, process: int) -> int:
        """What calls of other processes used beyond their leases: known to this one once they renew, or it is filed."""
        others = [(lease.held, self.granted[other]) for other, lease in self.leases.items() if other != process]
        return sum(max(0, held.tokens - known.tokens) for held, known in others)

    def begin(self, process: int, wanted: int, use: int) -> None:
        self.granted.setdefault(process, ZERO)
        lease = self.leases.setdefault(process, Lease(Amount(LIMIT, UNLIMITED)))
        asked = Amount(wanted, 1)
        before = self.used + self.reserved - self.hidden(process)
        taken = lease.take(asked)
        if taken is None:
            self.renew(process, asked)
            taken = lease.take(asked, rest=True)
        if taken is None:
            event("refused")
            return
        assert before < LIMIT, "a call began although nothing was left"
        self.numbers += 1
        self.calls.append(Call(process, taken, Turn(f"run-{self.numbers}", 1, Amount(use, 0), 0.0)))

    def end(self, call: Call) -> None:
        self.calls.remove(call)
        self.leases[call.process].settle(call.taken, call.turn)
        self.used += call.turn.amount.tokens
        self.over += max(0, call.turn.amount.tokens - call.taken.tokens)
        self.log.append(call.turn)

    def file(self) -> None:
        """Persistence has read the log."""
        for turn in self.log:
            self.filed[turn.run_id] = turn.number
            self.spent = self.spent.plus(turn.amount)
        self.log.clear()

    def kill(self, process: int) -> None:
        """Calls under way are lost; what was answered is in the log, and filed before the lease expires."""
        self.calls = [call for call in self.calls if call.process != process]
        self.file()
        self.leases.pop(process, None)
        self.granted.pop(process, None)


PROCESS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("begin"), PROCESS, st.integers(1, 300), st.integers(0, 300)),
    st.tuples(st.just("end"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("file"), PROCESS, st.just(0), st.just(0)),
    st.tuples(st.just("keep"), PROCESS, st.integers(0, 50), st.just(0)),
    st.tuples(st.just("kill"), PROCESS, st.just(0), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=80), st.booleans())
def test_no_call_begins_once_the_limit_is_reached(steps: list[tuple[str, int, int, int]], honest: bool) -> None:
    """And where calls use no more than they reserved, the limit is never passed at all."""
    world = World()
    for step, number, wanted, use in steps:
        match step:
            case "begin":
                world.begin(number, wanted, min(use, wanted) if honest else use)
            case "end" if world.calls:
                call = world.calls[number % len(world.calls)]
                if honest and call.turn.amount.tokens > call.taken.tokens:
                    call.turn = call.turn._replace(amount=call.taken)
                world.end(call)
            case "file":
                world.file()
            case "keep":
                world.renew(number, Amount(wanted, 1))
            case "kill":
                world.kill(number)
        if honest:
            assert world.used + world.reserved <= LIMIT
        assert world.used + world.reserved <= LIMIT + world.over


def test_a_lone_process_can_use_all_of_it() -> None:
    world = World()
    for _ in range(200):
        world.begin(0, 30, 5)
        if world.calls:
            world.end(world.calls[0])
        world.file()
    assert world.used == LIMIT


def test_a_process_that_died_blocks_nothing_for_ever() -> None:
    world = World()
    world.begin(0, 900, 900)
    world.begin(1, 200, 100)
    assert [call.taken.tokens for call in world.calls] == [900, 100], "the second one gets the rest"
    world.kill(0)
    world.begin(1, 200, 100)
    assert len(world.calls) == 2


def test_a_turn_that_is_filed_is_held_no_more_and_a_lost_one_is_forgotten() -> None:
    lease = Lease(Amount(100, UNLIMITED), granted=Amount(100, UNLIMITED))
    for number, at in ((1, 10.0), (2, 20.0)):
        taken = lease.take(Amount(10, 1))
        assert taken is not None
        lease.settle(taken, Turn("run", number, Amount(20, 7), at))
    assert lease.held == Amount(40, 14)
    lease.file({"run": 1, "other": 3})
    assert lease.held == Amount(20, 7)
    assert lease.forget(15.0) == 0
    assert lease.forget(25.0) == 1
    assert lease.held == ZERO


def test_two_calls_under_one_number_both_count_until_it_is_filed() -> None:
    """A record that was read again: the first answer was lost with its commit, and both were paid for."""
    lease = Lease(Amount(100, UNLIMITED), granted=Amount(100, UNLIMITED))
    for _ in range(2):
        taken = lease.take(Amount(10, 1))
        assert taken is not None
        lease.settle(taken, Turn("run", 1, Amount(10, 0), 0.0))
    assert lease.held.tokens == 20
    lease.file({"run": 1})
    assert lease.held == ZERO

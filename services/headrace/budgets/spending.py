"""Reserve before a model call, settle after it, on behalf of one process.

Where no budget concerns a run this costs a look into a dict. Where one does, a call takes its reservation from the process's
lease of the account, in memory; the database is asked when the lease has no more, for all runs that wait at once, and every
few seconds in the background, which gives back what is not needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from headrace.budgets.lease import Lease, Turn
from headrace.budgets.rules import ZERO, Account, Amount, Spender, accounts_of, concerns, limit_of, opens_again
from headrace.messages.budget import Budget
from headrace.messages.errors import HeadraceError
from headrace.messages.result import ResultError
from headrace.observe.logging import get_logger
from headrace.observe.metrics import BUDGET_REFUSALS
from headrace.postgres.batch import Coalescer

log = get_logger(__name__)

LEASE_S: Final = 60.0  # what a process that was killed had taken is free again after this
_RENEW_S: Final = 5.0
_EMPTY_S: Final = 1.0  # an account that had nothing left is not asked about again for so long
_PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.1
_FORGET_S: Final = 900.0  # a turn that no record tells of by then will not be told of (its record was dead-lettered)
_LEAST: Final = Amount(1, 1)


class Asked(NamedTuple):
    """What a process says of an account to have its lease renewed. ``held`` has what ``turns`` used in it."""

    account: Account
    limit: Amount
    turns: Sequence[Turn]
    held: Amount
    wanted: Amount


class Renewed(NamedTuple):
    """The new lease, what is spent, and of which runs the index has the turns up to which number."""

    granted: Amount
    spent: Amount
    filed: Mapping[str, int]


class Bank(Protocol):
    """Raises ``DependencyUnavailable`` while the database is away."""

    async def renew(self, asked: Sequence[Asked], lease_s: float) -> Sequence[Renewed]: ...


class Rules(Protocol):
    """The budgets as they are now. Raises ``DependencyUnavailable`` as long as they were never read."""

    def of(self, tenant: str) -> Sequence[Budget]: ...


class BudgetExhausted(HeadraceError):
    """No model call may begin. ``error`` is for the run's result."""

    def __init__(self, error: ResultError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class _Held:
    """A lease in use. ``valid_until`` and ``empty_until`` are seconds of the monotonic clock; ``wanted`` is what the last call
    of this round was likely to use.
    """

    account: Account
    lease: Lease
    spent: Amount = ZERO
    wanted: Amount = ZERO
    valid_until: float = 0.0
    empty_until: float = 0.0
    given_back: bool = False

    @property
    def over(self) -> bool:
        """Whether the limit is used up, also once no call is under way."""
        return not self.lease.limit.covers(self.spent.plus(self.lease.used).plus(_LEAST))


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a model call may use of each account. Exactly one of ``Spending.settle`` and ``Spending.cancel`` ends it."""

    taken: tuple[tuple[_Held, Amount], ...] = ()


_NOTHING: Final = Reservation()


@dataclass(slots=True)
class Spending:
    """``now_ms`` is the wall clock (epoch milliseconds), ``timer`` a monotonic one (seconds)."""

    rules: Rules
    bank: Bank
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    timer: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    lease_s: float = LEASE_S
    _held: dict[Account, _Held] = field(default_factory=dict)
    _renewals: Coalescer[tuple[_Held, Amount], None] = field(init=False)
    _overdrawn: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._renewals = Coalescer(self._renew)

    async def reserve(self, spender: Spender, used: Amount, estimate: Callable[[], Amount]) -> Reservation:
        """Room for a call that is likely to use ``estimate()``; ``used`` is what its run has used so far.

        Raises:
            BudgetExhausted: a budget has nothing left.
            DependencyUnavailable: there are budgets, and the database that knows them is away.
        """
        budgets = self.rules.of(spender.tenant)
        if not budgets:
            return _NOTHING
        for budget in budgets:
            if budget.scope == "run" and concerns(budget, spender) and not limit_of(budget).covers(used.plus(_LEAST)):
                raise self._exhausted(budget, None)
        drawn = accounts_of(budgets, spender)
        if not drawn:
            return _NOTHING
        wanted = estimate().at_least(_LEAST)
        taken: list[tuple[_Held, Amount]] = []
        try:
            for budget, account in drawn:
                held = self._at(account, limit_of(budget))
                if (amount := await self._take(held, wanted)) is None:
                    raise self._exhausted(budget, spender.began_ms if held.over else None)
                taken.append((held, amount))
        except BaseException:
            self.cancel(Reservation(tuple(taken)))
            raise
        return Reservation(tuple(taken))

    def settle(self, reservation: Reservation, run_id: str, number: int, amount: Amount) -> None:
        """The call was answered: it was the run's ``number``th, and used ``amount``."""
        for held, taken in reservation.taken:
            held.lease.settle(taken, Turn(run_id, number, amount, self.timer()))
            if not held.lease.free.covers(ZERO):
                self._overdrawn.set()

    def cancel(self, reservation: Reservation) -> None:
        for held, taken in reservation.taken:
            held.lease.cancel(taken)

    def _at(self, account: Account, limit: Amount) -> _Held:
        held = self._held.get(account)
        if held is None:
            held = self._held[account] = _Held(account, Lease(limit))
        if held.lease.limit != limit:  # the budget was changed
            held.lease.limit = limit
            held.lease.freeze()
            held.empty_until = 0.0
        return held

    async def _take(self, held: _Held, wanted: Amount) -> Amount | None:
        """A part of the lease. Where others hold what is left, it waits a little: calls under way may give something back."""
        held.wanted = wanted
        patience = self.timer() + _PATIENCE_S
        while True:
            if self.timer() < held.valid_until and (taken := held.lease.take(wanted)):
                return taken
            if self.timer() < held.empty_until:
                return None
            await self._renewals.submit((held, wanted))
            if taken := held.lease.take(wanted, rest=True):
                return taken
            if held.over or self.timer() >= patience:
                held.empty_until = self.timer() + _EMPTY_S
                return None
            await self.sleep(_PAUSE_S)

    async def _renew(self, asks: Sequence[tuple[_Held, Amount]]) -> list[None]:
        wanted: dict[Account, Amount] = {}
        of = {held.account: held for held, _ in asks}
        for held, amount in asks:
            wanted[held.account] = wanted.get(held.account, ZERO).plus(amount)
        asked = [self._asked(held, wanted[account]) for account, held in of.items()]
        started = self.timer()
        for held, one, renewed in zip(of.values(), asked, await self.bank.renew(asked, self.lease_s), strict=True):
            held.lease.granted = renewed.granted
            held.lease.file(renewed.filed)
            held.spent = renewed.spent
            held.valid_until = started + self.lease_s
            held.given_back = one.held == one.wanted == ZERO
        return [None] * len(asks)

    def _asked(self, held: _Held, wanted: Amount) -> Asked:
        lease = held.lease
        lease.freeze()
        return Asked(held.account, lease.limit, lease.turns(), lease.held, wanted)

    async def keep(self) -> None:
        """One round in the background: file what is in the index by now, give back what is not needed, forget what is over."""
        now = self.timer()
        asks = []
        for account, held in list(self._held.items()):
            if forgotten := held.lease.forget(now - _FORGET_S):
                log.warning("budget_turns_not_filed", budget=account.budget, runs=forgotten)
            if held.given_back and held.wanted == ZERO and held.lease.held == ZERO:
                del self._held[account]
            else:
                asks.append((held, held.wanted))
            held.wanted = ZERO
        for outcome in await self._renewals.submit_all(asks):
            if isinstance(outcome, Exception):
                raise outcome

    def _exhausted(self, budget: Budget, window_of_ms: int | None) -> BudgetExhausted:
        """``window_of_ms`` tells the window that has nothing left. None: what is left is held by calls under way, for a moment."""
        BUDGET_REFUSALS.labels(budget.name).inc()
        if budget.scope == "run":
            text, again = "the run has used its budget", None
        elif window_of_ms is None:
            text = "what is left is held by calls under way"
            again = datetime.fromtimestamp(self.now_ms() / 1000, UTC) + timedelta(seconds=self.lease_s)
        else:
            text, again = f"nothing is left of its {budget.window}", opens_again(budget.window, window_of_ms)
        at = again.isoformat(timespec="seconds").replace("+00:00", "Z") if again else None
        opens = f"; it opens again at {at}" if at else ""
        message = f"budget {budget.name} is exhausted: {text}{opens}"
        return BudgetExhausted(
            ResultError(type="budget_exhausted", message=message, retryable=at is not None, retry_at=at)
        )

    @asynccontextmanager
    async def kept(self, every_s: float | None = None) -> AsyncIterator[Spending]:
        """``keep`` in the background, at once where a lease is overdrawn; at the end everything that is free is given back."""
        pause_s = min(_RENEW_S, self.lease_s / 3) if every_s is None else every_s
        keeping = asyncio.create_task(self._keep_on(pause_s), name="budgets")
        try:
            yield self
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            with suppress(HeadraceError):  # it expires by itself
                await self.keep()
            await self._renewals.close()

    async def _keep_on(self, every_s: float) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._overdrawn.wait(), every_s)
            self._overdrawn.clear()
            try:
                await self.keep()
            except HeadraceError as error:
                log.warning("budgets_not_kept", reason=str(error))
                await asyncio.sleep(1)

"""A bug for each invariant, planted inside the process under test: the checker must find every one, by its name.

A bug changes the real runtime of that process, as a mistake in it would. Nothing of this is in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from headrace.runtime import config, engine, lanes, offsetmap, poller, tracker, transactions


def _one_in_fifty_finishes_without_outputs() -> None:
    """1"""
    finish, count = engine.Engine.finish, iter(range(10**9))

    def forgetful(self: Any, item: Any, outputs: Any, size: int = 0) -> bool:
        return finish(self, item, outputs if next(count) % 50 else [], size)

    engine.Engine.finish = forgetful  # type: ignore[method-assign]


def _outputs_go_in_two_transactions() -> None:
    """2"""
    commit = transactions.Transactions.commit

    def twice(self: Any, outputs: Any, offsets: Any, **more: Any) -> Any:
        every = list(outputs)
        commit(self, every[: len(every) // 2], [], **more)
        return commit(self, every[len(every) // 2 :], offsets, **more)

    transactions.Transactions.commit = twice  # type: ignore[method-assign]


def _lanes_forget_the_key() -> None:
    """3"""
    engine.Engine._lane = lambda self, record: record.offset  # type: ignore[method-assign]


def _position_ignores_what_is_unfinished() -> None:
    """4"""
    tracker.Tracker.position = property(lambda self: self._next)  # type: ignore[assignment, method-assign]


def _the_map_is_not_read() -> None:
    """5"""
    offsetmap.OffsetMap.finished = lambda self, offset: offset < self.base  # type: ignore[method-assign]


def _newest_token(tokens: dict[str, Any]) -> None:
    """Commits carry the newest group metadata instead of that of the assignment."""
    send_ends = poller.Poller._send_ends

    def remember(self: Any, consumer: Consumer) -> None:
        tokens["newest"] = consumer.consumer_group_metadata()
        send_ends(self, consumer)

    poller.Poller._send_ends = remember  # type: ignore[method-assign]
    by_token = transactions.Transactions._by_token

    def newest(self: Any, offsets: Any) -> Any:
        return [(tokens.get("newest", token), partitions) for token, partitions in by_token(self, offsets)]

    transactions.Transactions._by_token = newest  # type: ignore[method-assign]


def _work_of_ended_tenancies_is_kept() -> None:
    """The engine goes on with what it has, whoever owns the partition."""
    engine.Engine.end = lambda self, partitions: []  # type: ignore[method-assign, assignment]


def _a_lost_partition_is_committed_with_a_fresh_token() -> None:
    """6"""
    _newest_token({})
    _work_of_ended_tenancies_is_kept()


def _a_revoked_partition_is_worked_on() -> None:
    """7"""
    _newest_token({})
    _work_of_ended_tenancies_is_kept()
    engine.Engine.drain = lambda self, partitions: None  # type: ignore[method-assign]


def _an_ambiguous_commit_is_taken_for_none() -> None:
    """8"""
    transactions.Transactions._rebuild = _only_once(transactions.Transactions._rebuild)  # type: ignore[method-assign]
    transactions.Transactions._resolve = lambda self, offsets: transactions.Outcome.ABORTED  # type: ignore[method-assign]


def _only_once(rebuild: Callable[..., Producer]) -> Callable[..., Producer]:
    def kept(self: Any, slot: int) -> Producer:
        return self._producers[slot] or rebuild(self, slot)

    return kept


def _transactions_begin_early() -> None:
    """9: the next transaction is opened as soon as the last one is over, and stays open while processors work."""
    begin, commit = transactions.Producer.begin_transaction, transactions.Producer.commit_transaction
    opened: set[int] = set()

    def begin_unless_open(self: Any) -> None:
        if id(self) in opened:
            opened.discard(id(self))
        else:
            begin(self)

    def commit_and_begin(self: Any, *more: Any) -> None:
        commit(self, *more)
        begin(self)
        opened.add(id(self))

    transactions.Producer.begin_transaction = begin_unless_open  # type: ignore[method-assign, assignment]
    transactions.Producer.commit_transaction = commit_and_begin  # type: ignore[method-assign, assignment]


def _results_are_committed_without_their_offsets() -> None:
    """10: but for one transaction in ten."""
    commit, count = transactions.Transactions.commit, iter(range(10**9))

    def sparing(self: Any, outputs: Any, offsets: Any, **more: Any) -> Any:
        return commit(self, outputs, offsets if next(count) % 10 == 9 else [], **more)

    transactions.Transactions.commit = sparing  # type: ignore[method-assign]


def _nothing_is_bounded() -> None:
    """12"""
    make = lanes.Lanes.__init__
    lanes.Lanes.__init__ = lambda self, _bound: make(self, 10**9)  # type: ignore[method-assign, misc, assignment]


def _a_pause_lasts() -> None:
    """13"""

    class Deaf(Consumer):
        def resume(self, *_: Any) -> None:
            pass

    poller.Consumer = Deaf  # type: ignore[misc, attr-defined]


def _damage_is_overlooked() -> None:
    """14: metadata that can't be read counts as none, an offset that is not there as the first one."""
    decode = offsetmap.decode

    def lenient(base: int, metadata: str | None) -> offsetmap.OffsetMap:
        try:
            return decode(base, metadata)
        except offsetmap.CorruptOffsetMap:
            return decode(base, None)

    offsetmap.decode = lenient
    consumer = config.consumer

    def resets(*given: Any, **named: Any) -> config.Config:
        return consumer(*given, **named) | {"auto.offset.reset": "earliest"}

    config.consumer = resets


def _a_retry_keeps_its_place() -> None:
    """15"""

    def park(self: Any, item: Any) -> None:
        item.tenancy.waiting += 1
        self.waiting += 1

    def unpark(self: Any, item: Any) -> None:
        item.tenancy.running -= 1
        self.in_flight -= 1
        self._queue(item)

    lanes.Lanes.park, lanes.Lanes.unpark = park, unpark  # type: ignore[method-assign]


BUGS: Final[dict[str, Callable[[], None]]] = {
    "1": _one_in_fifty_finishes_without_outputs,
    "2": _outputs_go_in_two_transactions,
    "3": _lanes_forget_the_key,
    "4": _position_ignores_what_is_unfinished,
    "5": _the_map_is_not_read,
    "6": _a_lost_partition_is_committed_with_a_fresh_token,
    "7": _a_revoked_partition_is_worked_on,
    "8": _an_ambiguous_commit_is_taken_for_none,
    "9": _transactions_begin_early,
    "10": _results_are_committed_without_their_offsets,
    "12": _nothing_is_bounded,
    "13": _a_pause_lasts,
    "14": _damage_is_overlooked,
    "15": _a_retry_keeps_its_place,
}


def plant(invariant: str) -> None:
    """In this process, from now on."""
    BUGS[invariant]()

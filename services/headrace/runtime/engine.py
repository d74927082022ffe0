"""The engine: what to start, what to commit, what to forget. All decisions of the runtime, none of its I/O.

::

    records --offer--> [tracker: seen before?] --> lanes --startable--> (processor) --finish--> done --plan--> (transaction)
                                                     ^------park/unpark (retry)--'                   <--settle--'

The worker drives it with real threads and clocks, the simulation with a fake broker and virtual time. It is synchronous and
single-threaded. It refuses to know what a processor, a producer or a rebalance protocol is.

Partitions come and go as *tenancies*: one continuous ownership of a partition. Whatever is still running when its tenancy ends
is ignored when it finishes. A *plan* is the content of one transaction; there is at most one at a time, and one that was aborted is
made again (less what was lost) before any other, so that outputs keep their order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from headrace.runtime import foldstate
from headrace.runtime.lanes import Lanes, Share
from headrace.runtime.tracker import Tracker

TopicPartition = tuple[str, int]
Output = TypeVar("Output")


class Input(Protocol):
    """What the engine needs to see of a record."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def size(self) -> int: ...


@dataclass(eq=False, slots=True, kw_only=True)
class Tenancy(Share):
    """One ownership of one partition. ``token`` (the group metadata at assignment) proves it to the broker."""

    topic: str
    partition: int
    tracker: Tracker
    token: object
    new_work: bool
    state: str | None = None  # of an ordered stage: what its last finished record left
    draining: bool = False  # being revoked: nothing new starts
    uncommitted: int = 0  # records that are finished
    bytes: int = 0  # of its records that are waiting or in flight
    paused: bool = False

    @property
    def where(self) -> TopicPartition:
        return self.topic, self.partition


class Item(msgspec.Struct, Generic[Output], eq=False):
    """A record on its way through the engine."""

    record: Input
    tenancy: Tenancy
    lane: Hashable
    new_work: bool
    follower: Any = None
    attempt: int = 1
    outputs: Sequence[Output] = ()
    output_bytes: int = 0
    state: str | None = None  # of an ordered stage, after this record
    trace: Any = None  # what an observer keeps with it
    prepared: Any = None  # what is known of it before it is handled


@dataclass(slots=True)
class Plan(Generic[Output]):
    """The content of one transaction. ``offsets``: per tenancy the offset and metadata to commit with its token."""

    items: list[Item[Output]]
    offsets: dict[TopicPartition, tuple[Tenancy, int, str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one worker may hold.

    ``max_in_flight`` records inside the processor, ``max_queued`` waiting for it (shared out evenly over the partitions, so that
    one stuck partition can't take the room of the others), ``max_bytes`` received and not committed; ``max_plan_*`` bound one
    transaction.
    """

    max_in_flight: int = 1_000
    max_queued: int = 8_000
    max_bytes: int = 64 * 2**20
    max_plan_records: int = 5_000
    max_plan_bytes: int = 16 * 2**20


class Engine(Generic[Output]):
    """``ordered``: a lane per partition instead of per key, and a state that is committed with its offset."""

    def __init__(self, bounds: Bounds, *, new_work: Iterable[str] = (), ordered: bool = False) -> None:
        self.bounds = bounds
        self._ordered = ordered
        self._new_work = frozenset(new_work)
        self._lanes: Lanes[Item[Output]] = Lanes(bounds.max_in_flight)
        self._tenancies: dict[TopicPartition, Tenancy] = {}
        self._done: list[Item[Output]] = []
        self._plan: Plan[Output] | None = None
        self._bytes = 0
        self._full = False

    # --- partitions ------------------------------------------------------------------------------------------------

    def assign(self, topic: str, partition: int, committed: int, metadata: str | None, token: object) -> Tenancy:
        """A partition is ours from ``committed`` on. Raises ``CorruptOffsetMap``."""
        self.end([(topic, partition)])
        state, offset_map = foldstate.decode(metadata)
        tenancy = Tenancy(
            topic=topic,
            partition=partition,
            tracker=Tracker(committed, offset_map),
            token=token,
            new_work=topic in self._new_work,
            state=state,
        )
        self._tenancies[tenancy.where] = tenancy
        return tenancy

    def renew(self, partitions: Iterable[TopicPartition], token: object) -> None:
        """Partitions that we still own, seen together with ``token``; any other tenancy has ended."""
        kept = set(partitions)
        self.end([where for where in self._tenancies if where not in kept])
        for tenancy in self._tenancies.values():
            tenancy.token = token

    def drain(self, partitions: Iterable[TopicPartition]) -> None:
        """Start nothing more of these partitions: they are about to be revoked."""
        for where in partitions:
            if tenancy := self._tenancies.get(where):
                tenancy.draining = True

    def drained(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether nothing of these partitions is in flight or waits to be committed."""
        watched = [tenancy for where in partitions if (tenancy := self._tenancies.get(where))]
        return not any(tenancy.running or tenancy.uncommitted for tenancy in watched)

    def end(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Forget partitions that are not ours any more; whatever still runs for them will be ignored."""
        ended = [tenancy for where in partitions if (tenancy := self._tenancies.pop(where, None))]
        for tenancy in ended:
            tenancy.ended = True
            self._bytes -= tenancy.bytes
            self._lanes.evict(tenancy)
        if ended:
            self._done = [item for item in self._done if self._keep(item)]
        return [tenancy.where for tenancy in ended]

    def _keep(self, item: Item[Output]) -> bool:
        if item.tenancy.ended:
            self._bytes -= item.record.size
        return not item.tenancy.ended

    @property
    def partitions(self) -> list[TopicPartition]:
        return list(self._tenancies)

    def position(self, where: TopicPartition) -> int | None:
        """First offset of a partition that is not finished, if it is ours."""
        tenancy = self._tenancies.get(where)
        return tenancy.tracker.position if tenancy else None

    # --- records ---------------------------------------------------------------------------------------------------

    def offer(self, records: Iterable[Input]) -> list[Item[Output]]:
        """Take in received records; those of partitions that are not ours, or finished before, are dropped. What was taken."""
        tenancies, push = self._tenancies, self._lanes.push
        taken: list[Item[Output]] = []
        for record in records:
            tenancy = tenancies.get((record.topic, record.partition))
            if tenancy is None or tenancy.draining or not tenancy.tracker.receive(record.offset):
                continue
            tenancy.bytes += record.size
            self._bytes += record.size
            item: Item[Output] = Item(record, tenancy, self._lane(record), tenancy.new_work)
            push(item)
            taken.append(item)
        return taken

    def reached(self, ends: Iterable[tuple[str, int, int]]) -> None:
        """Partitions that were read to their end, which is at this offset.

        Of one that drains nothing is taken in any more, so what was read of it is no record of what is there.
        """
        for topic, partition, offset in ends:
            tenancy = self._tenancies.get((topic, partition))
            if tenancy is not None and not tenancy.draining:
                tenancy.tracker.reach(offset)

    def _lane(self, record: Input) -> Hashable:
        """Records without a key have no order to keep: each is a lane of its own."""
        if self._ordered:
            return None
        return record.offset if record.key is None else record.key

    def startable(self) -> list[Item[Output]]:
        """Records to hand to the processor now; each must come back by ``finish`` or ``park``."""
        items = self._lanes.startable(self._may_start)
        if self._ordered:
            for item in items:
                item.state = item.tenancy.state  # unless handling it gives another
        return items

    @staticmethod
    def _may_start(item: Item[Output]) -> bool:
        return not item.tenancy.draining and item.tenancy.tracker.may_start(item.record.offset)

    def park(self, item: Item[Output]) -> bool:
        """``item`` failed and will be tried again after a pause; False if its partition is gone."""
        if item.tenancy.ended:
            return False
        item.attempt += 1
        self._lanes.park(item)
        return True

    def unpark(self, item: Item[Output]) -> None:
        """The pause of a parked ``item`` is over."""
        if not item.tenancy.ended:
            self._lanes.unpark(item)

    def finish(self, item: Item[Output], outputs: Sequence[Output], output_bytes: int = 0) -> bool:
        """``item`` is finished with these outputs; False (and nothing happens) if its partition is gone."""
        tenancy = item.tenancy
        if tenancy.ended:
            return False
        item.outputs, item.output_bytes = outputs, output_bytes
        tenancy.state = item.state
        tenancy.bytes -= item.record.size
        tenancy.uncommitted += 1
        self._lanes.release(item)
        item.follower = None
        self._done.append(item)
        return True

    # --- transactions ----------------------------------------------------------------------------------------------

    def plan(self) -> Plan[Output] | None:
        """The next transaction, or None when nothing is finished or the one before is not settled."""
        if self._plan is not None or not self._done:
            return None
        size = self._plan_size()
        items, self._done = self._done[:size], self._done[size:]
        for item in items:
            item.tenancy.tracker.finish(item.record.offset)
        self._plan = self._make_plan(items)
        return self._plan

    def _plan_size(self) -> int:
        """How many of the finished items go into one transaction: at least one, then while they fit."""
        total = 0
        for count, item in enumerate(self._done[: self.bounds.max_plan_records]):
            total += item.output_bytes
            if count and total > self.bounds.max_plan_bytes:
                return count
        return min(len(self._done), self.bounds.max_plan_records)

    @staticmethod
    def _make_plan(items: list[Item[Output]]) -> Plan[Output]:
        states = {item.tenancy: item.state for item in items}  # after the last record of each
        return Plan(items, {t.where: (t, *_commit_point(t, state)) for t, state in states.items()})

    def settle(self, *, committed: bool) -> Plan[Output] | None:
        """The transaction of the current plan is over. If it was aborted: the plan to do again, or None if nothing is left."""
        plan = self._plan
        assert plan is not None, "no plan to settle"
        if committed:
            for tenancy, offset, _ in plan.offsets.values():
                tenancy.tracker.committed(offset)
            self._drop(plan.items)
            self._plan = None
            self._lanes.wake()
            return None
        kept = [item for item in plan.items if not item.tenancy.ended]
        self._drop([item for item in plan.items if item.tenancy.ended])
        self._plan = self._make_plan(kept) if kept else None
        return self._plan

    def _drop(self, items: Iterable[Item[Output]]) -> None:
        for item in items:
            item.tenancy.uncommitted -= 1
            self._bytes -= item.record.size

    # --- flow control ----------------------------------------------------------------------------------------------

    def paused(self) -> frozenset[TopicPartition]:
        """Partitions that should not be fetched now. A pause ends at half of the bound that made it.

        Bytes pause new work first, and everything only at twice the bound: continuations free what they wait for.
        """
        self._full = self._bytes >= self.bounds.max_bytes * (0.5 if self._full else 1.0)
        overfull = self._bytes >= 2 * self.bounds.max_bytes
        share = max(2, self.bounds.max_queued // max(1, len(self._tenancies)))
        for tenancy in self._tenancies.values():
            tenancy.paused = (
                tenancy.draining
                or overfull
                or (self._full and tenancy.new_work)
                or tenancy.waiting >= share * (0.5 if tenancy.paused else 1.0)
            )
        return frozenset(where for where, tenancy in self._tenancies.items() if tenancy.paused)

    @property
    def in_flight(self) -> int:
        return self._lanes.in_flight

    @property
    def waiting(self) -> int:
        return self._lanes.waiting

    @property
    def uncommitted_bytes(self) -> int:
        return self._bytes

    @property
    def idle(self) -> bool:
        """Nothing in flight, nothing to commit. Records that only wait are left for the next owner."""
        return not self.in_flight and not self._done and self._plan is None


def _commit_point(tenancy: Tenancy, state: str | None) -> tuple[int, str]:
    """Offset and metadata: the offset map, or the state, beside which no map is needed since nothing finishes out of order."""
    offset, offset_map = tenancy.tracker.commit_point()
    if state is None:
        return offset, offset_map
    assert not offset_map, "an ordered stage finished out of order"
    return offset, foldstate.encode(state)

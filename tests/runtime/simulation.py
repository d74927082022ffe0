"""The engine against a fake broker with virtual time: everything that can happen, in an order that a seed decides.

The broker keeps per partition a log (with gaps, as control records leave them), the committed offset and metadata, and an owner.
It accepts a commit only under a token that is valid for each of its partitions: taken by the owner, not before the partition was
given to it. Nodes learn of rebalances late, die with transactions open, and hear of a commit's outcome late, wrongly refused or
not at all (then they resolve it as ``runtime.transactions`` does). The same ``Engine`` as in production makes every decision.

``run(seed)`` raises ``Violation`` with the seed in its text; the seed alone replays it. Invariants are numbered as in
docs/design.md.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from headrace.runtime.engine import Bounds, Engine, Item, Plan

TOPICS = ("tool.results", "agent.jobs")  # a continuation and new work
NEW_WORK = frozenset({"agent.jobs"})
Where = tuple[str, int]


class Violation(AssertionError):
    pass


@dataclass(frozen=True)
class Rec:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    size: int = 100

    @property
    def where(self) -> Where:
        return self.topic, self.partition


@dataclass(frozen=True)
class Token:
    node: int
    epoch: int


@dataclass
class Transaction:
    """``state``: open, committed, aborted or refused, as the broker knows it; ``told`` when the node heard."""

    plan: Plan[Rec]
    outputs: list[Rec]
    offsets: dict[Where, tuple[Token, int, str]]
    state: str = "open"


@dataclass
class Broker:
    logs: dict[Where, list[Rec]]
    committed: dict[Where, tuple[int, str]] = field(default_factory=dict)
    owner: dict[Where, int] = field(default_factory=dict)
    given_at: dict[Where, int] = field(default_factory=dict)
    written: dict[Where, int] = field(default_factory=lambda: defaultdict(int))  # how much of the log is there
    epoch: int = 0
    outputs: dict[Rec, int] = field(default_factory=dict)
    order: dict[tuple[Where, bytes], list[int]] = field(default_factory=lambda: defaultdict(list))

    def readable(self, where: Where) -> tuple[list[Rec], int]:
        """The records that are there, and where the log ends: past the control records behind them."""
        there, to_come = self.logs[where][: self.written[where]], self.logs[where][self.written[where] :]
        end = (there[-1].offset if there else 0) + 3
        return there, min(end, to_come[0].offset) if to_come else end

    def valid(self, where: Where, token: Token) -> bool:
        return self.owner.get(where) == token.node and token.epoch >= self.given_at[where]

    def decide(self, transaction: Transaction, *, commit: bool) -> None:
        if transaction.state != "open":
            return
        if not all(self.valid(where, token) for where, (token, _, _) in transaction.offsets.items()):
            transaction.state = "refused"
            return
        transaction.state = "committed" if commit else "aborted"
        if commit:
            self._apply(transaction)

    def _apply(self, transaction: Transaction) -> None:
        for record in transaction.outputs:
            self.outputs[record] = self.outputs.get(record, 0) + 1
            if record.key is not None:
                self.order[(record.where, record.key)].append(record.offset)
        for where, (_, offset, metadata) in transaction.offsets.items():
            before = self.committed.get(where, (0, ""))[0]
            if offset < before:
                raise Violation(f"4: committed offset of {where} goes back {before} -> {offset}")
            unfinished = [r for r in self.logs[where] if r.offset < offset and r not in self.outputs]
            if unfinished:
                raise Violation(f"4: commit {offset} of {where} passes unfinished {unfinished[0].offset}")
            self.committed[where] = (offset, metadata)


class Node:
    def __init__(self, number: int, world: World) -> None:
        self.number, self.world = number, world
        self.engine: Engine[Rec] = Engine(world.bounds, new_work=NEW_WORK)
        self.fetch: dict[Where, int] = {}
        self.running: list[Item[Rec]] = []
        self.parked: list[Item[Rec]] = []
        self.transaction: Transaction | None = None
        self.paused: frozenset[Where] = frozenset()  # as the poller knows it, which is some time later
        self.view = 0  # epoch of the last rebalance that this node heard of
        self.news: list[tuple[str, Where, int]] = []  # rebalances that it will hear of, in order

    def hear(self) -> None:
        kind, where, epoch = self.news.pop(0)
        self.view = max(self.view, epoch)
        if kind == "lost":
            self.engine.end([where])
            self.fetch.pop(where, None)
        elif kind == "revoking":
            self.engine.drain([where])
        else:
            self.world.end_pending(where, but=self)
            offset, metadata = self.world.broker.committed.get(where, (0, ""))
            self.engine.assign(*where, offset, metadata, Token(self.number, self.view))
            self.fetch[where] = offset

    def receive(self) -> None:
        if self.world.rng.random() < 0.5:
            self.paused = self.engine.paused()
        for where in [w for w in self.fetch if w not in self.paused]:
            there, end = self.world.broker.readable(where)
            batch = [r for r in there if r.offset >= self.fetch[where]][: self.world.rng.randrange(1, 12)]
            if batch:
                self.engine.offer(batch)
                self.fetch[where] = batch[-1].offset + 1
            at_the_end = not there or self.fetch[where] > there[-1].offset
            if self.fetch[where] and at_the_end and self.world.rng.random() < 0.5:  # with its last records, or later
                self.engine.reached([(*where, end)])

    def start(self) -> None:
        for item in self.engine.startable():
            record: Any = item.record
            token: Any = item.tenancy.token
            if record in self.world.broker.outputs and self.world.broker.valid(record.where, token):
                raise Violation(f"5: finished {record} runs again")
            self.running.append(item)
        hard = self.world.bounds.max_in_flight + max(1, self.world.bounds.max_in_flight // 4)
        if self.engine.in_flight > hard:
            raise Violation(f"12: {self.engine.in_flight} in flight, bound {hard}")
        lanes = [(item.tenancy.where, item.lane) for item in self.running if not item.tenancy.ended]
        if len(lanes) != len(set(lanes)):
            raise Violation("3: two of a key in flight")

    def work(self) -> None:
        if not self.running:
            return
        item = self.running.pop(self.world.rng.randrange(len(self.running)))
        if self.world.rng.random() < 0.15:
            if self.engine.park(item):
                self.parked.append(item)
        else:
            record: Any = item.record
            self.engine.finish(item, [record])

    def retry(self) -> None:
        if self.parked:
            self.engine.unpark(self.parked.pop(self.world.rng.randrange(len(self.parked))))

    def begin(self) -> None:
        if self.transaction is None and (plan := self.engine.plan()):
            self._send(plan)

    def _send(self, plan: Plan[Rec]) -> None:
        if ended := [i for i in plan.items if i.tenancy.ended]:
            raise Violation(f"7: a plan holds {ended[0].record} of an ended tenancy")
        offsets: Any = {where: (t.token, offset, metadata) for where, (t, offset, metadata) in plan.offsets.items()}
        self.transaction = Transaction(plan, [output for item in plan.items for output in item.outputs], offsets)

    def conclude(self) -> None:
        """The node hears how its transaction ended, or has to find out."""
        transaction = self.transaction
        if transaction is None:
            return
        self.world.broker.decide(transaction, commit=self.world.rng.random() < 0.8)
        self.transaction = None
        ambiguous = transaction.state != "refused" and self.world.rng.random() < 0.3
        committed = self._resolve(transaction) if ambiguous else transaction.state == "committed"
        if transaction.state == "refused":
            self.engine.renew(list(self.fetch), Token(self.number, self.view))
        if again := self.engine.settle(committed=committed):
            self._send(again)

    def _resolve(self, transaction: Transaction) -> bool:
        owned = [e for e in transaction.plan.offsets.values() if not e[0].ended and self._still_owns(e[0].where)]
        if not owned:
            return False
        tenancy, offset, metadata = owned[0]
        return self.world.broker.committed.get(tenancy.where) == (offset, metadata)

    def _still_owns(self, where: Where) -> bool:
        """In production the new owner's commits are told apart by tenancy; here the broker knows at once."""
        return self.world.broker.owner.get(where) == self.number


class World:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.bounds = Bounds(
            max_in_flight=rng.choice([1, 3, 20]),
            max_queued=rng.choice([4, 30, 200]),
            max_bytes=rng.choice([400, 100_000]),
            max_plan_records=rng.choice([1, 5, 100]),
        )
        self.broker = Broker({(t, p): self._log(t, p) for t in TOPICS for p in range(rng.choice([1, 2]))})
        self.nodes = [Node(n, self) for n in range(rng.choice([1, 2, 3]))]
        self.asked_for: list[Where] = []
        for where in self.broker.logs:
            self.give(where, rng.choice(self.nodes))

    def _log(self, topic: str, partition: int) -> list[Rec]:
        records, offset = [], 0
        for _ in range(self.rng.randrange(0, 60)):
            offset += self.rng.choice([1, 1, 1, 2, 5])
            key = None if self.rng.random() < 0.1 else b"k%d" % self.rng.randrange(6)
            records.append(Rec(topic, partition, offset, key))
        return records

    def give(self, where: Where, node: Node) -> None:
        broker = self.broker
        before = broker.owner.get(where)
        broker.epoch += 1
        if before is not None:
            self.nodes[before].news.append(("lost", where, broker.epoch))
        broker.owner[where], broker.given_at[where] = node.number, broker.epoch
        node.news.append(("given", where, broker.epoch))

    def ask_for(self, where: Where) -> None:
        """A rebalance that asks its owner for a partition first: it is given away some time later."""
        owner = self.nodes[self.broker.owner[where]]
        owner.news.append(("revoking", where, owner.view))
        self.asked_for.append(where)
        self.broker.written[where] += self.rng.choice([0, 1, 2])  # what comes just then

    def end_pending(self, where: Where, *, but: Node) -> None:
        """A new owner reads stable offsets: the broker ends the transactions that touch the partition first."""
        for node in self.nodes:
            transaction = node.transaction
            if transaction and where in transaction.offsets and node is not but:
                self.broker.decide(transaction, commit=self.rng.random() < 0.5)

    def crash(self, node: Node) -> None:
        """kill -9 and a restart: memory is gone, an open transaction is ended by the broker either way."""
        if node.transaction:
            self.broker.decide(node.transaction, commit=self.rng.random() < 0.5)
        self.nodes[node.number] = fresh = Node(node.number, self)
        for where, owner in list(self.broker.owner.items()):
            if owner == node.number:
                self.broker.epoch += 1
                self.broker.given_at[where] = self.broker.epoch
                fresh.news.append(("given", where, self.broker.epoch))

    def step(self, faults: bool) -> None:
        node = self.rng.choice(self.nodes)
        if faults and (dice := self.rng.random()) < 0.05:
            if dice < 0.01:
                self.crash(node)
            elif dice < 0.03:
                self.give(self.rng.choice(list(self.broker.logs)), node)
            else:
                self.ask_for(self.rng.choice(list(self.broker.logs)))
            return
        if self.rng.random() < 0.06:
            self.broker.written[self.rng.choice(list(self.broker.logs))] += self.rng.randrange(1, 5)
            return
        if self.asked_for and self.rng.random() < 0.03:
            self.give(self.asked_for.pop(), node)
            return
        actions = [node.receive, node.start, node.work, node.work, node.begin, node.conclude, node.retry]
        if node.news:
            actions.append(node.hear)
        self.rng.choice(actions)()

    @property
    def done(self) -> bool:
        return all(record in self.broker.outputs for log in self.broker.logs.values() for record in log)


def run(seed: int) -> World:
    """One simulated life; raises ``Violation``."""
    world = World(seed)
    try:
        for step in range(60_000):
            world.step(faults=step < 1_500)
            if step > 1_500 and world.done and all(n.transaction is None for n in world.nodes):
                break
        check(world)
    except Violation as violation:
        raise Violation(f"seed {seed}: invariant {violation}") from None
    except Exception as error:
        raise Violation(f"seed {seed}: {type(error).__name__}: {error}") from error
    return world


def check(world: World) -> None:
    for log in world.broker.logs.values():
        for record in log:
            if (count := world.broker.outputs.get(record, 0)) != 1:
                raise Violation(f"1/2/13: {record} has {count} outputs")
    for (where, key), offsets in world.broker.order.items():
        if offsets != sorted(offsets):
            raise Violation(f"3: outputs of key {key!r} in {where} are out of order: {offsets}")

"""The matrix of the bare runtime: a cell is what it starts with and what is done to it, for some seconds, by a seed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.runtime.engine import Bounds
from headrace.runtime.groups import Group, GroupActive
from tests.faults.arena import BROKERS, Arena, Setup
from tests.faults.worker import STEPS
from tests.runtime.relay import STAGE


@dataclass(frozen=True)
class Cell:
    """``harm`` runs between ``begin`` and ``finish`` of the arena for about the given seconds."""

    name: str
    what: str
    harm: Callable[[Arena, float], None]
    setup: Setup = field(default_factory=Setup)
    short_s: float = 6.0
    long_s: float = 75.0


def _for(seconds: float) -> Iterator[float]:
    """Once, then again until the time is over; the seconds that are left."""
    end = time.monotonic() + seconds
    yield seconds
    while (left := end - time.monotonic()) > 0:
        yield left


# --- workers -------------------------------------------------------------------------------------------------------------


def _nothing(arena: Arena, seconds: float) -> None:
    arena.pause(seconds)


def _kills(arena: Arena, seconds: float) -> None:
    for _ in _for(seconds):
        arena.pause(0.05, 0.8)
        slot = arena.any_slot()
        arena.kill(slot)
        arena.start(slot)


def _kills_at_steps(arena: Arena, seconds: float) -> None:
    """Beside the three workers others come, each to die by itself at a step of a transaction."""
    for number, _ in enumerate(_for(seconds)):
        for slot in range(arena.setup.workers, arena.setup.workers + 3):
            process = arena.processes.get(slot)
            if process is None or not process.is_alive():
                arena.kills += process is not None and process.exitcode == -signal.SIGKILL
                step = STEPS[(number + slot) % len(STEPS)]
                arena.note(f"worker {slot} is to die {step}")
                arena.start(slot, kill=(step, arena.rng.randrange(1, 40 if "produce" in step else 5)))
        arena.pause(0.1)


def _zombies(arena: Arena, seconds: float) -> None:
    """Stopped for longer than the session, so that the partitions go to others, and woken again."""
    for _ in _for(seconds):
        slot = arena.any_slot()
        arena.signal(slot, signal.SIGSTOP)
        arena.pause(7.0 if arena.settings.group_protocol == "consumer" else 13.0)
        arena.signal(slot, signal.SIGCONT)
        arena.pause(0.5, 2.0)


def _storm(arena: Arena, seconds: float) -> None:
    """Members leave in order and come back, all the time."""
    for _ in _for(seconds):
        slot = arena.any_slot()
        arena.stop(slot)
        arena.pause(0.0, 0.4)
        arena.start(slot)
        arena.pause(0.2, 1.0)


def _rolling_restart(arena: Arena, seconds: float) -> None:
    """All workers are told to go at once, one after the other, and at once again; a signal may come twice."""
    for _ in _for(seconds):
        for slot in sorted(arena.processes):
            arena.signal(slot, signal.SIGTERM)
            if arena.rng.random() < 0.5:
                arena.signal(slot, signal.SIGTERM)
            arena.processes.pop(slot).join(40)
            arena.start(slot)
        arena.pause(0.2, 1.0)


# --- brokers and the network ---------------------------------------------------------------------------------------------


def _brokers_die_in_turn(arena: Arena, seconds: float) -> None:
    node = 0
    for _ in _for(seconds):
        node = node % BROKERS + 1
        arena.note(f"kill -9 broker {node}")
        arena.ground.cluster.kill(node)
        arena.pause(0.5, 1.5)
        arena.ground.cluster.start(node)
        arena.note(f"broker {node} is back")
        arena.pause(0.5, 1.5)


def _broker_stands_still(arena: Arena, seconds: float) -> None:
    node = 0
    for left in _for(seconds):
        node = node % BROKERS + 1
        arena.note(f"SIGSTOP broker {node}")
        arena.ground.cluster.pause(node)
        arena.pause(min(10.0, max(4.0, left)))
        arena.ground.cluster.resume(node)
        arena.note(f"SIGCONT broker {node}")
        arena.pause(1.0, 2.0)


def _two_brokers_down(arena: Arena, seconds: float) -> None:
    """Below the minimum of in-sync replicas nothing can be acknowledged; nothing that was may go."""
    for _ in _for(seconds):
        first, second = arena.rng.sample(range(1, BROKERS + 1), 2)
        for node in (first, second):
            arena.note(f"kill -9 broker {node}")
            arena.ground.cluster.kill(node)
        arena.pause(2.0, 6.0)
        for node in (first, second):
            arena.ground.cluster.broker(node).launch()
        for node in (first, second):
            arena.ground.cluster.broker(node).wait_ready()
        arena.note("both are back")
        arena.pause(1.0, 3.0)


def _answers_to_commits_are_lost(arena: Arena, seconds: float) -> None:
    proxies = arena.ground.proxies.by_node.values()
    for _ in _for(seconds):
        before = sum(proxy.lost for proxy in proxies)
        for proxy in proxies:
            proxy.lose_end_txn = 1
        arena.pause(2.0, 4.0)
        arena.note(f"{sum(proxy.lost for proxy in proxies) - before} answers to EndTxn lost")


def _answers_to_commits_are_late(arena: Arena, seconds: float) -> None:
    proxies = arena.ground.proxies.by_node.values()
    for _ in _for(seconds):
        delay = arena.rng.choice([0.5, 3.0, 16.0])
        arena.note(f"answers to EndTxn take {delay} s")
        for proxy in proxies:
            proxy.end_txn_delay_s = delay
        arena.pause(1.0, 2.0)
        for proxy in proxies:
            proxy.end_txn_delay_s = 0.0
        arena.pause(1.0, 3.0)


def _network(arena: Arena, seconds: float) -> None:
    """Slow answers, cut connections, and a broker that clients can't reach though the others can."""
    for _ in _for(seconds):
        node = arena.rng.randrange(1, BROKERS + 1)
        proxy = arena.ground.proxies.by_node[node]
        kind = arena.rng.choice(["slow", "cut", "away"])
        arena.note(f"broker {node}: {kind}")
        proxy.delay_s = 0.3 if kind == "slow" else 0.0
        proxy.refuse = kind == "away"
        if kind != "slow":
            arena.ground.proxies.cut(node)
        arena.pause(0.5, 3.0)
        proxy.delay_s, proxy.refuse = 0.0, False
        arena.pause(0.1, 1.0)


def _clocks_jump(arena: Arena, seconds: float) -> None:
    for _ in _for(seconds):
        for slot, by_s in zip(sorted(arena.processes), (3600.0, -3600.0, 86_400.0), strict=False):
            arena.kill(slot)
            arena.start(slot, clock_jump=(0.5, by_s))
            arena.note(f"worker {slot}: the clock jumps by {by_s:+.0f} s")
        arena.pause(5.0, 8.0)


def _everything(arena: Arena, seconds: float) -> None:
    """One after the other, as it comes."""
    harms = (_kills, _storm, _network, _answers_to_commits_are_lost)
    for _ in _for(seconds):
        arena.rng.choice(harms)(arena, 2.0)
        arena.ground.proxies.heal()


# --- the group's offsets -------------------------------------------------------------------------------------------------


def _stop_all(arena: Arena) -> None:
    for slot in sorted(arena.processes):
        arena.stop(slot)


def _metadata_is_damaged(arena: Arena, _seconds: float) -> None:
    _stop_all(arena)
    good = arena.committed()
    for what, text in (("damaged", "hr1:damaged"), ("oversized", "hr1:" + "A" * 3_900)):
        arena.note(f"commit metadata is {what}")
        arena.commit({partition: (offset, text) for partition, (offset, _) in good.items()})
        arena.must_refuse(0, "not an intact offset map")
        if arena.found:
            break
    arena.commit(good)


def _retention_deletes(arena: Arena, _seconds: float) -> None:
    """The committed offset points to records that are not there any more."""
    _stop_all(arena)
    good = arena.committed()
    topic = arena.settings.physical_topic("agent.jobs")
    admin = AdminClient({"bootstrap.servers": arena.settings.kafka_bootstrap_servers})
    arena.saved = arena.inputs()
    ends = [TopicPartition(topic, partition, offset) for partition, (offset, _) in good.items()]
    for future in admin.delete_records(ends).values():
        future.result(20)
    arena.note("records up to the committed offsets are deleted, and the offsets set before them")
    arena.commit({partition: (max(0, offset - 5), "") for partition, (offset, _) in good.items()})
    arena.must_refuse(0, "out of range")
    arena.commit(good)


def _reset_while_active(arena: Arena, _seconds: float) -> None:
    """An operator's reset is refused while anybody is in the group, and holds once nobody is."""
    group = Group(arena.settings, STAGE.group)
    try:
        group.reset({("agent.jobs", 0): 0})
    except GroupActive:
        arena.note("a reset of the active group was refused")
    else:
        arena.found.append("invariant 14: the offsets of an active group were reset")
    arena.load.finish()
    jobs = arena.load.sent
    arena.wait(lambda: len(arena.observer.done) >= jobs, 60, "all results")
    _stop_all(arena)
    ends = {("agent.jobs", partition): offset for partition, (offset, _) in arena.committed().items()}
    arena.by_hand = True
    group.reset(ends)
    arena.note("a reset of the stopped group was carried out")


# --- the load itself -----------------------------------------------------------------------------------------------------


def _blocks(number: int) -> str:
    return "block:6" if number % 1_000 == 150 else "x"


def _blocks_long(number: int) -> str:
    return "block:30" if number == 150 else "x"


def _stragglers(number: int) -> str:
    return "slow:60" if number == 100 else ("slow:3" if number % 500 == 50 else "x")


def _poison(number: int) -> str:
    return {10: "poison", 20: "fails", 5: "away:3", 15: "away:3", 25: "away:3"}.get(number % 30, "x")


_FEW = Bounds(max_in_flight=20, max_queued=30)
_LITTLE_ROOM = Bounds(max_in_flight=5)

CELLS = (
    Cell("calm", "nothing happens: the checker's own control", _nothing, short_s=2.0, long_s=20.0),
    Cell("kills", "kill -9 of workers at random moments", _kills, long_s=300.0),
    Cell("kills-at-steps", "kill -9 before and after produce, send_offsets and commit", _kills_at_steps, long_s=150.0),
    Cell("zombies", "SIGSTOP of a worker past its session, then SIGCONT", _zombies, Setup(delay_s=0.5), short_s=7.0),
    Cell("storm", "three workers join and leave", _storm, Setup(delay_s=0.3)),
    Cell(
        "revoked-while-paused",
        "partitions are revoked and regained while intake is paused",
        _storm,
        Setup(bounds=_FEW, delay_s=0.2, rate=250),
    ),
    Cell("rolling-restart", "SIGTERM to all workers, again and again", _rolling_restart),
    Cell("brokers", "kill -9 of the three brokers in turn", _brokers_die_in_turn, Setup(rate=60), short_s=4.0),
    Cell("broker-stands-still", "SIGSTOP of a broker for 10 s", _broker_stands_still, Setup(rate=60), short_s=4.0),
    Cell("two-brokers-down", "two of three brokers down", _two_brokers_down, Setup(rate=60), short_s=4.0),
    Cell("commit-answers-lost", "answers to EndTxn never come", _answers_to_commits_are_lost, short_s=4.0),
    Cell("commit-answers-late", "answers to EndTxn come late, also past the time-out", _answers_to_commits_are_late),
    Cell("network", "slow answers, cut connections, brokers out of reach", _network),
    Cell("clocks", "wall clocks jump by an hour and by a day", _clocks_jump),
    Cell("blocked-loop", "a processor blocks its event loop for 30 s (short: 6 s)", _nothing, Setup(prompt=_blocks)),
    Cell(
        "straggler",
        "a record takes 60 s at full rate",
        _nothing,
        Setup(prompt=_stragglers, rate=400, limit_s=75.0, others_wait_s=12.0),
    ),
    Cell("damaged-metadata", "commit metadata that is damaged, or too long", _metadata_is_damaged, short_s=0, long_s=0),
    Cell("retention", "the committed offset was deleted by retention", _retention_deletes, short_s=0, long_s=0),
    Cell(
        "reset",
        "the group's offsets are reset while it is active, then stopped",
        _reset_while_active,
        short_s=0,
        long_s=0,
    ),
    Cell(
        "poison",
        "poison, retries that run out, dependencies away for the whole time",
        _nothing,
        Setup(prompt=_poison, bounds=_LITTLE_ROOM, others_wait_s=6.0),
        short_s=10.0,
    ),
    Cell("everything", "kills, storms, network and lost answers mixed", _everything, long_s=150.0),
)
BY_NAME = {cell.name: cell for cell in CELLS}

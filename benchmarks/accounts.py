"""How fast the accounts are kept, checked and made again: audit, ``audit verify``, ``replay rebuild``.

    python -m benchmarks.accounts [--runs 4000] [--rounds 3] [--json FILE]

``--runs`` invocations of two turns (seven records each, 1,000 keys) are written to their topics. Each round, on topics and a
database of its own: the audit service from its start to its last entry; ``audit verify`` plain and ``--deep``; ``replay rebuild``
of the index from its first record, over a full index and into an emptied one, each with its check. The yardstick is a bare
librdkafka consumer over the same source records in the same round, with no decoding. Seconds include start-up and group join, as a
user waits for them; CPU is of the process at work.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import orjson
import psutil
from confluent_kafka import Consumer, TopicPartition
from tests.replay.mesh import runs as records_of
from tests.replay.mesh import write
from tests.support.mesh import Mesh, running_mesh
from tests.support.stack import fresh_database

from headrace.local.endpoints import Endpoints
from headrace.local.stack import Stack
from headrace.messages.base import Message
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.pipeline import STAGES
from headrace.runtime.admin import Admin
from headrace.runtime.cluster import END, FIRST, Cluster, flat
from headrace.settings import MeshSettings

PATIENCE_S = 600.0
Round = dict[str, tuple[float, float]]  # what -> records a second, CPU seconds per 1,000 records


def bare(settings: MeshSettings) -> tuple[int, float]:
    """All records of persistence's topics, read and thrown away; how many, and the seconds."""
    cluster = Cluster(settings)
    topics = [settings.physical_topic(topic) for topic in STAGES["persistence"].consumes]
    partitions = flat(cluster.partitions(topics))
    first, ends = cluster.offsets(partitions, FIRST), cluster.offsets(partitions, END)
    waiting = {where for where in partitions if first[where] < ends[where]}
    found, began = 0, time.perf_counter()
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "bare",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in waiting])
    while waiting:
        for message in consumer.consume(2_000, 0.2):
            if message.error():
                waiting.discard((message.topic() or "", message.partition() or 0))
            else:
                found += 1
    consumer.close()
    return found, time.perf_counter() - began


def spread(messages: Sequence[Message]) -> list[Message]:
    """The same over 1,000 keys; records of one key would be worked on one after the other."""
    keys = (f"key-{number % 1_000}" for number in count())
    return [
        message.replace(partition_key=next(keys)) if isinstance(message, Event | Job) else message
        for message in messages
    ]


def until_read(settings: MeshSettings, service: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    stage = STAGES[service]
    while sum(one.lag for one in Admin(settings).group_lag(stage.group, stage.consumes).values()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{service} did not get to the end")
        time.sleep(0.2)


def of_service(mesh: Mesh, service: str) -> tuple[float, float]:
    """Seconds and CPU seconds from its start to its last commit."""
    began = time.perf_counter()
    mesh.start(service, wait=False)
    until_read(mesh.settings, service)
    seconds = time.perf_counter() - began
    cpu = sum(psutil.Process(mesh.processes[service].pid).cpu_times()[:2])
    mesh.stop(service)
    return seconds, cpu


def of_command(mesh: Mesh, *arguments: str) -> tuple[float, float, bytes]:
    """Seconds, CPU seconds and output of a command that has to end well."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], env=mesh.environment, stdout=subprocess.PIPE, check=True
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu, done.stdout


def one_round(stack: Endpoints, invocations: int) -> Round:
    prefix = f"b{uuid.uuid4().hex[:8]}."
    found: Round = {}
    with ExitStack() as exits:
        runner = exits.enter_context(asyncio.Runner())
        database = fresh_database(stack.database_url)
        exits.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        url = runner.run(database.__aenter__())
        mesh = exits.enter_context(running_mesh(stack, prefix, url, services=()))
        runner.run(write(mesh.settings, spread(records_of(0, invocations, turns=2)), commit_every=500))
        records, seconds = bare(mesh.settings)
        found["bare read of the records"] = records / seconds, 0.0

        def note(what: str, seconds: float, cpu: float) -> None:
            found[what] = records / seconds, cpu / records * 1_000

        note("persistence, first time", *of_service(mesh, "persistence"))
        note("audit", *of_service(mesh, "audit"))
        note("audit verify", *of_command(mesh, "audit", "verify", "--json")[:2])
        note("audit verify --deep", *of_command(mesh, "audit", "verify", "--deep", "--json")[:2])
        rebuild = ("replay", "rebuild", "--group", "persistence", "--to-earliest", "--run", "--json")
        for what, options in (
            ("rebuild over a full index", ()),
            ("rebuild into an emptied one", ("--empty-index", "--yes")),
        ):
            note(what, *of_command(mesh, *rebuild, *options)[:2])
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=4_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="write all figures there")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data, ExitStack() as exits:
        stack = Stack(Path(data))
        exits.callback(stack.stop)
        endpoints = stack.start()
        rounds = [one_round(endpoints, options.runs) for _ in range(options.rounds)]
    print(f"{'':<30} {'records/s':>10} {'of bare':>8} {'CPU s/k':>8}")
    middle: Callable[[str, int], float] = lambda what, at: statistics.median(one[what][at] for one in rounds)  # noqa: E731
    for what in rounds[0]:
        share = statistics.median(one[what][0] / one["bare read of the records"][0] for one in rounds)
        print(f"{what:<30} {middle(what, 0):10,.0f} {share:8.3f} {middle(what, 1):8.3f}")
    if options.json:
        options.json.write_bytes(orjson.dumps(rounds, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()

"""The runtime beside a bare exactly-once loop: one hop, a job in and two records out, no work in between.

    python benchmarks/relay.py [--records 20000] [--runs 3] [--json FILE]

The yardstick is what a careful engineer would write on librdkafka in an afternoon: poll, parse, produce, send the offsets, commit
the batch. It keeps no order across retries, checks no schema, and has no dead letters: it says what the broker and the client cost.
Runs alternate, on one embedded broker; each run has topics of its own. Printed are medians: records per second from the start of
the consumer to its end, CPU seconds of this process for 1,000 records, and their ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import uvloop
from confluent_kafka import Consumer, Message, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.runtime.kafka import make_topics, produce, read_all
from tests.runtime.relay import STAGE, TOPICS, NoBlobs, Relay, job
from tests.support.stack import kafka_cluster

from headrace.runtime import config
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings

KEYS = 500


@dataclass(frozen=True)
class Figures:
    per_second: float
    cpu_per_1000: float


async def of_headrace(settings: MeshSettings, records: int) -> None:
    worker = Worker(STAGE, Relay(), settings, NoBlobs())
    await worker.start()
    try:
        while worker.status()["finished"] < records:
            await asyncio.sleep(0.01)
    finally:
        await worker.stop()


def of_bare_loop(settings: MeshSettings, records: int) -> None:
    consumer = Consumer(config.consumer(settings, group=STAGE.group, client="bare") | {"auto.offset.reset": "earliest"})
    producer = Producer(config.transactional_producer(settings, transactional_id="bare"))
    producer.init_transactions()
    consumer.subscribe([settings.physical_topic("agent.jobs")])
    done = 0
    while done < records:
        first = consumer.poll(1.0)
        messages = [m for m in ([first] if first else []) + consumer.consume(1_000, 0) if not m.error()]
        if messages:
            transaction(settings, consumer, producer, messages)
            done += len(messages)
    consumer.close()


def transaction(settings: MeshSettings, consumer: Consumer, producer: Producer, messages: Sequence[Message]) -> None:
    producer.begin_transaction()
    ends: dict[int, int] = {}
    for message in messages:
        value = orjson.dumps(orjson.loads(message.value() or b""))
        for topic in STAGE.produces:
            producer.produce(settings.physical_topic(topic), value, message.key())
        ends[message.partition() or 0] = (message.offset() or 0) + 1
    topic = settings.physical_topic("agent.jobs")
    offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    producer.commit_transaction()


def measured(kafka: str, records: int, *, bare: bool) -> Figures:
    settings = MeshSettings(_env_file=None, kafka_bootstrap_servers=kafka, topic_prefix=f"b{uuid.uuid4().hex[:8]}.")
    make_topics(settings, TOPICS)
    produce(settings, "agent.jobs", (job(number, f"key-{number % KEYS}") for number in range(records)))
    wall, cpu = time.perf_counter(), time.process_time()
    if bare:
        of_bare_loop(settings, records)
    else:
        uvloop.run(of_headrace(settings, records))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    written = {record.value for record in read_all(settings, "relayed")}
    if len(written) != records:
        raise SystemExit(f"{len(written)} of {records} records are there: the figure would be worth nothing")
    return Figures(records / wall, cpu / records * 1000)


def median(figures: Sequence[Figures]) -> Figures:
    return Figures(statistics.median(f.per_second for f in figures), statistics.median(f.cpu_per_1000 for f in figures))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--records", type=int, default=20_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="write the figures of every run there")
    options = arguments.parse_args()
    taken: dict[bool, list[Figures]] = {False: [], True: []}
    with kafka_cluster(brokers=1) as cluster:
        for run in range(options.runs):
            for bare in (True, False):
                figures = measured(cluster.bootstrap_servers, options.records, bare=bare)
                taken[bare].append(figures)
                name = "bare loop" if bare else "headrace"
                print(f"run {run + 1}  {name:9}  {figures.per_second:8,.0f}/s  {figures.cpu_per_1000:.3f} CPU s/1,000")
    if options.json:
        named = {"bare loop": taken[True], "headrace": taken[False]}
        options.json.write_bytes(orjson.dumps({name: [asdict(one) for one in runs] for name, runs in named.items()}))
    ours, bare_loop = median(taken[False]), median(taken[True])
    print(f"headrace  {ours.per_second:,.0f}/s, {ours.cpu_per_1000:.3f} CPU s/1,000")
    print(f"bare loop {bare_loop.per_second:,.0f}/s, {bare_loop.cpu_per_1000:.3f} CPU s/1,000")
    rate, cpu = ours.per_second / bare_loop.per_second, ours.cpu_per_1000 / bare_loop.cpu_per_1000
    print(f"ratio     {rate:.2f} of its rate, {cpu:.2f} of its CPU (start-up and group join included in both)")


if __name__ == "__main__":
    main()

"""How Faust is set up, and on what: the app's settings, a consumer that reads committed records only, the shape of its topic."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import faust
from faust.transport.drivers import aiokafka as driver

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.pipeline import Stage
from headrace.runtime import aio, config
from headrace.runtime.cluster import FIRST, Cluster, flat
from headrace.settings import MeshSettings

for _noisy in ("faust", "mode"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)  # else each start is fifty lines

_SESSION_S: Final = 10.0
_REQUEST_S: Final = 20.0
_MAX_REQUEST: Final = 2**21


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the input topic: the changelog has as many partitions, since the table is partitioned as the input is."""

    partitions: int
    replication: int


def shape_of(settings: MeshSettings, stage: Stage) -> Shape:
    """Ask the cluster, before Faust does. Blocks.

    Raises:
        DependencyUnavailable: Kafka can't be reached, or the topic is not there yet.
        FatalError: records after a committed offset were deleted unread. Faust would pass over them without a word.
    """
    cluster = Cluster(settings)
    (topic,) = stage.consumes
    name = settings.physical_topic(topic)
    partitions = flat(cluster.partitions([name]))
    if not partitions:
        raise DependencyUnavailable(f"no such topic: {name} (headrace topics apply makes it)")
    first = cluster.offsets(partitions, FIRST)
    for where, offset in cluster.committed(config.group_id(settings, stage.group), partitions).items():
        if offset < first[where]:
            raise FatalError(
                f"out of range: {topic}/{where[1]} begins at {first[where]}, and {stage.group} has read to {offset}: "
                "what lies between was deleted unread"
            )
    return Shape(len(partitions), min(3, cluster.brokers()))


PassOver = Callable[[Any], bool]  # of a Faust message of the input: nobody wants it


class _App(faust.App):
    """Faust makes folders for its tables in the working directory. Ours are in memory, and a container's root is read-only."""

    passes_over: PassOver | None = None

    def _create_directories(self) -> None:
        pass


def build(
    settings: MeshSettings, stage: Stage, *, replication: int, commit_s: float, pass_over: PassOver | None = None
) -> faust.App:
    """An app that is not started, and finds no agents by itself. It sees what ``pass_over`` is false of; the rest is done."""
    group = settings.physical_topic(stage.group)
    app = _App(
        group,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_client_id=f"{group}-{settings.instance}",
        broker_session_timeout=_SESSION_S,
        broker_heartbeat_interval=_SESSION_S / 4,
        broker_request_timeout=_REQUEST_S,
        broker_commit_interval=commit_s,
        broker_max_poll_records=500,
        consumer_group_instance_id=f"{group}-{settings.instance}",  # back at once after a kill: no session to wait for
        consumer_auto_offset_reset="earliest",
        producer_request_timeout=_REQUEST_S,
        producer_max_request_size=_MAX_REQUEST,
        processing_guarantee="at_least_once",
        store="memory://",
        topic_replication_factor=replication,
        topic_disable_leader=True,
        reply_create_topic=False,
        stream_recovery_delay=0.0,
        web_enabled=False,
        autodiscover=False,
    )
    app.passes_over = pass_over
    app.finalize()
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def _credentials(settings: MeshSettings) -> Any:
    options = aio.options(settings)
    protocol = options.get("security_protocol", "PLAINTEXT")
    context = options.get("ssl_context")
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options.get("sasl_plain_username"),
            password=options.get("sasl_plain_password"),
            mechanism=options.get("sasl_mechanism"),
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if protocol == "SSL" else None


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # read when it starts; Faust has no setting for it
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109 - Faust's signature
        """What is passed over ends here: Faust spends two tasks and a stream's steps on each message that it is given."""
        passes_over = cast("_App", self.app).passes_over
        async for tp, message in super().getmany(timeout):
            if passes_over is None or not passes_over(message):
                yield tp, message
            else:
                await self._pass_over(tp, message)

    async def _pass_over(self, tp: Any, message: Any) -> None:
        """As the loop that reads this does with a message, but for giving it to anybody."""
        before = self._read_offset[tp]
        if before is not None and message.offset < before:
            return
        if before and message.offset - before > 1 and self.app.topics.acks_enabled_for(message.topic):
            await self._add_gap(tp, before + 1, message.offset)
        self.ack(message)
        self._read_offset[tp] = message.offset


class _Transport(driver.Transport):
    Consumer = _Consumer

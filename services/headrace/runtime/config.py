"""librdkafka options, each with the reason for it. The one place where client options are set.

``settings.kafka_options`` (security, TLS, ...) go into every client; what exactly-once stands on can't be overridden by them.
"""

from __future__ import annotations

import logging
from typing import Any

from headrace.settings import MeshSettings

Config = dict[str, Any]

TRANSACTION_TIMEOUT_MS = 15_000  # a killed worker's open transaction blocks read_committed readers this long at most
MESSAGE_TIMEOUT_MS = 10_000  # must end before the transaction does
COMMIT_TIMEOUT_S = 12.0
DEAD_LETTER_BYTES = 1_200_000  # what dead-letter topics take: another topic's largest record, and what is said of it
SESSION_TIMEOUT_MS = 10_000  # classic protocol only: with KIP-848 the broker decides
MAX_POLL_INTERVAL_MS = 300_000  # the poller never waits for a handler; only a blocked callback can reach this


def common(settings: MeshSettings, client: str) -> Config:
    return {
        **settings.kafka_options,
        "logger": logging.getLogger("librdkafka"),  # instead of its own lines on stderr; served by poll()
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id(settings, client),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log.connection.close": False,
    }


def client_id(settings: MeshSettings, client: str) -> str:
    """Names a client to the broker; of a group's members, one instance of one service."""
    return f"{settings.topic_prefix}headrace-{client}-{settings.instance}"


def group_id(settings: MeshSettings, group: str) -> str:
    """The cluster's name of a consumer group."""
    return settings.topic_prefix + group


def consumer(settings: MeshSettings, *, group: str, client: str) -> Config:
    """A group member that takes no decisions by itself: no auto commit, no silent reset."""
    config = common(settings, client) | {
        "group.id": group_id(settings, group),
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
        "enable.partition.eof": True,  # tells lag apart from the control records that transactions leave at the end
        # The default prefetch (100,000 records, 64 MB) would hold far more than the engine's bounds.
        "queued.min.messages": 1_000,
        "queued.max.messages.kbytes": 16_384,
        # With a small prefetch the default of 1,000 ms makes the fetcher sleep a second each time the queue is full.
        "fetch.queue.backoff.ms": 5,
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": 4 * 2**20,
    }
    if settings.group_protocol == "classic":
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": 3_000,
        }
    return config


def reader(settings: MeshSettings, *, client: str) -> Config:
    """A consumer that is assigned partitions by hand and commits nothing (tables, resolving transactions)."""
    return common(settings, client) | {
        "group.id": group_id(settings, f"headrace.{client}"),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
    }


def transactional_producer(settings: MeshSettings, *, transactional_id: str) -> Config:
    """``transactional_id`` is stable per service, instance and slot, so that a restart ends what a killed process left open."""
    return common(settings, transactional_id) | {
        "transactional.id": settings.topic_prefix + transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": MESSAGE_TIMEOUT_MS,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "compression.type": "lz4",
        "message.max.bytes": max(settings.max_record_bytes + 100_000, DEAD_LETTER_BYTES),
        # The default backoff of 100 ms makes each commit cost 40-100 ms; with this it is about 3.
        "retry.backoff.ms": 2,
        "retry.backoff.max.ms": 10,
    }


def advisory_producer(settings: MeshSettings, *, client: str) -> Config:
    """For records that may get lost: bounded in memory and time, and nobody waits for a second broker."""
    return common(settings, client) | {
        "acks": "1",
        "linger.ms": 10,
        "compression.type": "lz4",
        "message.timeout.ms": 5_000,
        "queue.buffering.max.messages": 10_000,
        "queue.buffering.max.kbytes": 8_192,
    }

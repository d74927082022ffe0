"""Three brokers: what was acknowledged survives the loss of one."""

import re
import uuid

import pytest

from headrace.local import kafka
from headrace.local.kafka import KafkaCluster
from headrace.local.kafka_probe import live_brokers
from tests.stack.probes import consume, create_topic, produce


@pytest.mark.xdist_group("three brokers")
def test_acks_all_with_a_broker_killed_stopped_paused(kafka_cluster3: KafkaCluster) -> None:
    cluster, servers = kafka_cluster3, kafka_cluster3.bootstrap_servers
    create_topic(servers, replicas=3)
    produce(servers, b"all")

    cluster.kill(1)
    produce(servers, b"one killed")
    cluster.start(1)
    assert 1 in live_brokers(cluster.broker(1).port)

    cluster.stop(2)
    produce(servers, b"one stopped")
    cluster.start(2)

    cluster.pause(3)
    assert live_brokers(cluster.broker(3).port) == set()
    produce(servers, b"one paused")
    cluster.resume(3)

    assert consume(servers, 4) == [b"all", b"one killed", b"one stopped", b"one paused"]


def test_a_cluster_id_is_never_an_option_to_the_tool_that_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\xfb" + bytes(15)), uuid.UUID(int=7)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))

    found = kafka._new_cluster_id()

    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", found)

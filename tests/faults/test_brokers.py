"""Three brokers: what was acknowledged survives the loss of one. First of its group: brokers that hold little start soon."""

from __future__ import annotations

import pytest

from headrace.local.kafka_probe import live_brokers
from tests.faults.arena import Ground
from tests.stack.probes import consume, create_topic, produce
from tests.support.mesh import until

pytestmark = pytest.mark.xdist_group("three brokers")


def test_acks_all_with_a_broker_killed_stopped_paused(battleground: Ground) -> None:
    try:
        harm_each_in_turn(battleground)
    finally:
        battleground.restore()


def harm_each_in_turn(ground: Ground) -> None:
    cluster, servers = ground.cluster, ground.endpoints.kafka_bootstrap_servers
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
    until(lambda: live_brokers(cluster.broker(3).port) == set(), 10, "a stopped process is heard no more")
    produce(servers, b"one paused")
    cluster.resume(3)

    assert consume(servers, 4) == [b"all", b"one killed", b"one stopped", b"one paused"]

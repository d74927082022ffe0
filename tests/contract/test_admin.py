"""Administration of a real cluster: topics as declared, counts and lag under transactions."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from headrace.local.endpoints import Endpoints
from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import config
from headrace.runtime.admin import Admin
from headrace.settings import MeshSettings
from headrace.topology import TopicSpec, load_all
from headrace.topology.plan import RETENTION

SPECS = load_all()


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    return MeshSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=namespace)


@pytest.fixture
def admin(settings: MeshSettings) -> Iterator[Admin]:
    return Admin(settings)


def changed(name: str, **fields: Any) -> TopicSpec:
    return SPECS[name].model_copy(update=fields)


def test_apply_makes_all_topics_and_then_has_nothing_to_do(admin: Admin) -> None:
    specs = list(SPECS.values())
    assert [change.kind for change in admin.diff(specs)] == ["create"] * len(specs)
    assert len(admin.apply(specs)) == len(specs)
    assert admin.diff(specs) == []
    assert admin.apply(specs) == []
    counts = admin.topic_counts([*SPECS, "no.such.topic"])
    assert {name: count.partitions for name, count in counts.items()} == {
        name: spec.partitions for name, spec in SPECS.items()
    }


def test_apply_grows_and_lengthens_but_refuses_to_shrink_or_lose(admin: Admin, settings: MeshSettings) -> None:
    admin.apply([SPECS["tool.calls"]])
    produce(settings, "tool.calls", 3)
    bigger = changed("tool.calls", partitions=8, retention="60d", max_message_bytes=2_000_000)
    assert [change.refused for change in admin.apply([bigger])] == [None] * 3
    assert admin.diff([bigger]) == []
    smaller = changed("tool.calls", partitions=2, retention="1h", cleanup="compact")
    refused = admin.apply([smaller])
    assert len(refused) == 4
    assert all(change.refused for change in refused)
    assert admin.diff([bigger]) == []


def test_what_is_refused_holds_back_nothing_else(admin: Admin, settings: MeshSettings) -> None:
    admin.apply([SPECS["tool.calls"]])
    produce(settings, "tool.calls", 1)
    changes = admin.apply([changed("tool.calls", retention="1h"), SPECS["tools.dlq"]])
    assert [(change.topic, change.name, bool(change.refused)) for change in changes] == [
        ("tool.calls", RETENTION, True),
        ("tools.dlq", "create", False),
    ]
    assert admin.diff([SPECS["tool.calls"], SPECS["tools.dlq"]]) == []


def test_two_processes_may_apply_at_once(admin: Admin, settings: MeshSettings) -> None:
    specs = list(SPECS.values())
    other = Admin(settings)
    planned = other.diff(specs)
    admin.apply(specs)
    other._create([SPECS[change.topic] for change in planned], 1)
    assert other.diff(specs) == []


def test_lag_counts_what_can_be_read_and_no_markers(admin: Admin, settings: MeshSettings) -> None:
    admin.apply([SPECS["tool.calls"]])
    topics = ["tool.calls", "tool.results"]
    assert list(admin.group_lag("headrace.tools", topics)) == ["tool.calls"]
    assert admin.group_lag("headrace.tools", topics)["tool.calls"].lag == 0
    produce(settings, "tool.calls", 10)
    assert admin.group_lag("headrace.tools", topics)["tool.calls"].lag == 11  # with the marker behind the records
    consume(settings, "headrace.tools", "tool.calls", 10)
    after = admin.group_lag("headrace.tools", topics)["tool.calls"]
    assert (after.committed, after.end, after.lag) == (10, 11, 0)
    produce(settings, "tool.calls", 1)
    assert admin.group_lag("headrace.tools", topics)["tool.calls"].lag > 0


def test_a_cluster_that_is_away_is_unavailable(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.cluster.TIMEOUT_S", 0.5)
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"})
    with pytest.raises(DependencyUnavailable):
        Admin(away).diff(SPECS.values())


def produce(settings: MeshSettings, topic: str, count: int) -> None:
    """``count`` records of one key in one transaction."""
    producer = Producer(config.transactional_producer(settings, transactional_id="test"))
    producer.init_transactions(10)
    producer.begin_transaction()
    for number in range(count):
        producer.produce(settings.physical_topic(topic), str(number), "key")
    producer.commit_transaction(10)


def consume(settings: MeshSettings, group: str, topic: str, count: int) -> None:
    options = config.consumer(settings, group=group, client="test") | {"auto.offset.reset": "earliest"}
    consumer = Consumer(options)
    consumer.subscribe([settings.physical_topic(topic)])
    try:
        last = None
        while count:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                count -= 1
                last = message
        assert last is not None
        consumer.commit(last, asynchronous=False)
    finally:
        consumer.close()

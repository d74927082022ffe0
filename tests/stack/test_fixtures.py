"""The shared fixtures keep tests apart on one stack."""

import asyncpg
from confluent_kafka.admin import AdminClient

from headrace.local.endpoints import Endpoints


def test_stack_has_a_reachable_broker(stack: Endpoints) -> None:
    metadata = AdminClient({"bootstrap.servers": stack.kafka_bootstrap_servers}).list_topics(timeout=10)

    assert set(metadata.brokers) == {1}


async def test_each_test_gets_an_empty_database(database_url: str, stack: Endpoints) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SELECT current_database()") != "headrace"
    finally:
        await connection.close()


def test_namespace_is_a_valid_topic_prefix(namespace: str) -> None:
    assert namespace.endswith(".")
    assert namespace[:-1].isalnum()

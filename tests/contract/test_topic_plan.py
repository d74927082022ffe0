"""What ``topics apply`` would do, by rule: grow, never shrink or lose."""

from typing import Any

import pytest

from headrace.topology import TopicSpec, load_all
from headrace.topology.plan import CLEANUP, MAX_BYTES, MIN_ISR, RETENTION, TopicState, plan, topic_config

SPEC = load_all()["agent.jobs"]  # 6 partitions, 30d, delete
DAY = 86_400_000


def state(partitions: int = 6, records: int = 100, **config: str) -> TopicState:
    defaults = {RETENTION: str(30 * DAY), CLEANUP: "delete", MAX_BYTES: "1048588"}
    return TopicState(partitions, records, defaults | {name.replace("_", "."): value for name, value in config.items()})


def spec(**changes: Any) -> TopicSpec:
    return SPEC.model_copy(update=changes)


def test_as_declared_needs_nothing() -> None:
    assert plan(SPEC, state(), 1) == []


def test_missing_topic_is_created_with_its_settings() -> None:
    (change,) = plan(SPEC, None, 3)
    assert (change.kind, change.refused) == ("create", None)
    assert topic_config(SPEC, 3) == {RETENTION: str(30 * DAY), CLEANUP: "delete", MAX_BYTES: "1048588", MIN_ISR: "2"}
    assert MIN_ISR not in topic_config(SPEC, 1)


@pytest.mark.parametrize(
    ("wanted", "have", "name"),
    [
        (spec(partitions=12), state(), "partitions"),
        (spec(retention="60d"), state(), RETENTION),
        (spec(retention="forever"), state(), RETENTION),
        (spec(retention="1d"), state(records=0), RETENTION),
        (spec(cleanup="compact"), state(records=0), CLEANUP),
        (spec(retention="forever"), state(cleanup_policy="compact", retention_ms="-1"), CLEANUP),
        (spec(max_message_bytes=2_000_000), state(), MAX_BYTES),
    ],
)
def test_change_that_loses_nothing_is_made(wanted: TopicSpec, have: TopicState, name: str) -> None:
    (change,) = plan(wanted, have, 1)
    assert (change.name, change.refused) == (name, None)


@pytest.mark.parametrize(
    ("wanted", "have", "name"),
    [
        (spec(partitions=3), state(), "partitions"),
        (spec(partitions=3), state(records=0), "partitions"),
        (spec(retention="1d"), state(), RETENTION),
        (spec(retention="1d"), state(retention_ms="-1"), RETENTION),
        (spec(cleanup="compact"), state(), CLEANUP),
        (spec(), state(cleanup_policy="compact"), CLEANUP),
        (spec(), state(max_message_bytes="2000000"), MAX_BYTES),
    ],
)
def test_change_that_shrinks_or_loses_is_refused_with_a_way_out(wanted: TopicSpec, have: TopicState, name: str) -> None:
    (change,) = plan(wanted, have, 1)
    assert change.name == name
    assert change.refused
    assert change.refused in str(change)


def test_growing_partitions_warns_of_moving_keys() -> None:
    (change,) = plan(spec(partitions=12), state(), 1)
    assert "keys move" in str(change)

"""Ingest as it runs, two processes on one group: one event for each delivery id and body, and dead letters that are what came."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from headrace.local.endpoints import Endpoints
from headrace.messages.event import RawDelivery
from tests.ingest.records import webhook
from tests.ingest.replicas import Replicas, events_by_delivery, race, replicas
from tests.runtime.kafka import read_all
from tests.support.mesh import Mesh, running_mesh
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("ingest")
IDS, COPIES = 12, 64
GOOD = {"topic": "/t", "id": "1", "eventType": "org.example.good"}


@pytest.fixture(scope="module")
def mesh(stack: Endpoints) -> Iterator[Mesh]:
    with (
        own_database(stack.database_url) as database_url,
        running_mesh(stack, unique_namespace(), database_url, services=(), prepare=False) as mesh,
    ):
        mesh.cli("prepare", "--no-agents")
        yield mesh


@pytest.fixture(scope="module")
def pair(mesh: Mesh) -> Iterator[Replicas]:
    with replicas(mesh) as pair:
        yield pair


def test_copies_that_race_across_replicas_are_one_event(mesh: Mesh, pair: Replicas) -> None:
    race(pair, mesh.settings, IDS, COPIES)


@pytest.mark.parametrize(
    ("name", "delivery", "cause", "where"),
    [
        ("no-json", webhook("jira", b'{"a": "\xff', delivery_id="no-json"), "json_encoding", "byte 7"),
        ("no-event", webhook("jira", {"issue": {}}, delivery_id="no-event"), "jira_event", "/webhookEvent"),
        (
            "half-a-batch",
            webhook("eventgrid", [GOOD, {"id": "2"}], delivery_id="half-a-batch"),
            "eventgrid_event",
            "/1/eventType",
        ),
    ],
)
def test_what_can_not_be_understood_is_dead_lettered_raw(
    mesh: Mesh, pair: Replicas, name: str, delivery: RawDelivery, cause: str, where: str
) -> None:
    good = webhook("eventgrid", [GOOD, GOOD | {"id": "2"}], delivery_id=f"after-{name}")
    pair.deliver([delivery, good], 1)
    pair.drained()
    (letter,) = [record for record in read_all(mesh.settings, "ingest.dlq") if record.headers["ce_id"] == name]
    assert letter.value == delivery.body, "byte for byte"
    assert delivery.headers.items() <= letter.headers.items()
    assert (letter.headers["dlq_cause"], letter.headers["dlq_where"]) == (cause, where)
    found = events_by_delivery(mesh.settings)
    assert name not in found, "nothing of it got out"
    assert [orjson.loads(record.value)["id"] for record in found[f"after-{name}"]] == ["1", "2"]

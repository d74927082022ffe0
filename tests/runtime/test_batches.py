"""A processor that takes many records at once, on a real broker: what belongs to one record stays with it."""

from __future__ import annotations

import random

from headrace.messages.errors import DependencyUnavailable
from headrace.settings import MeshSettings
from tests.runtime.kafka import produce, read_all
from tests.runtime.relay import BatchRelay, job
from tests.runtime.running import running, until
from tests.runtime.test_worker import assert_same_order_per_key, ids


async def test_every_record_becomes_one_output_in_key_order(settings: MeshSettings) -> None:
    rng = random.Random(7)
    produce(settings, "agent.jobs", [job(n, f"key-{rng.randrange(40)}") for n in range(1500)])
    relay = BatchRelay()
    async with running(settings, relay) as worker:
        await until(lambda: worker.status()["finished"] == 1500)
    inputs, outputs = read_all(settings, "agent.jobs"), read_all(settings, "relayed")
    assert_same_order_per_key(inputs, outputs)
    assert sorted(name for batch in relay.batches for name in batch) == sorted(ids(inputs))
    key_of = dict(zip(ids(inputs), (record.key for record in inputs), strict=True))
    assert all(len({key_of[name] for name in batch}) == len(batch) for batch in relay.batches), "one of a key at a time"
    assert max(map(len, relay.batches)) > 1


async def test_an_error_is_its_record_s_alone(settings: MeshSettings) -> None:
    prompts = {3: "flaky:2", 5: "poison", 8: "away:9", 9: "flaky:99"}
    produce(settings, "agent.jobs", [job(n, f"key-{n}", prompts.get(n, "x")) for n in range(12)])
    produce(settings, "agent.jobs", [("other", b"not json")])
    async with running(settings, BatchRelay()) as worker:
        await until(lambda: worker.status()["finished"] == 13)
    assert sorted(ids(read_all(settings, "relayed"))) == sorted(f"job-{n}" for n in range(12) if n not in (5, 9))
    letters = {(r.headers["dlq_cause"], r.headers["dlq_attempts"]) for r in read_all(settings, "relay.dlq")}
    assert letters == {("poison", "1"), ("ValueError", "4"), ("json", "1")}


async def test_a_batch_that_fails_is_halved_until_the_bad_record_is_alone(settings: MeshSettings) -> None:
    produce(settings, "agent.jobs", [job(n, f"key-{n}", "bomb" if n == 77 else "x") for n in range(200)])
    relay = BatchRelay()
    async with running(settings, relay) as worker:
        await until(lambda: worker.status()["finished"] == 200)
    assert len(read_all(settings, "relayed")) == 199
    (letter,) = read_all(settings, "relay.dlq")
    assert letter.headers["dlq_cause"] == "ValueError"
    assert relay.batches.count(["job-77"]) == 4, "the bad one uses up its attempts"
    assert len(relay.single.started) == 199, "and no other is handled twice"


async def test_a_dependency_that_is_away_is_waited_for_by_all(settings: MeshSettings) -> None:
    class Away(BatchRelay):
        async def handle_all(self, inputs):  # type: ignore[no-untyped-def]
            if len(self.batches) < 5:
                self.batches.append([])
                raise DependencyUnavailable("away")
            return await super().handle_all(inputs)

    produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(50)])
    relay = Away()
    async with running(settings, relay) as worker:
        await until(lambda: worker.status()["finished"] == 50)
    assert len(read_all(settings, "relayed")) == 50
    assert read_all(settings, "relay.dlq") == []

"""Rules of the ingest processor: dedup, triggers, fan-out, determinism, tenants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from prometheus_client import REGISTRY

from headrace.claims import Claim, Outcome
from headrace.claims.memory import MemoryClaims
from headrace.ingest.processor import CONFLICT_HEADER
from headrace.messages.agent import AgentRecord, Trigger
from headrace.messages.errors import BadMessage, DependencyUnavailable, FatalError
from headrace.messages.event import RawDelivery
from headrace.messages.ids import event_uid, triggered_job_id
from headrace.messages.job import Job
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from headrace.runtime.api import Context, Source
from headrace.samples import samples
from tests.ingest.records import agent, at, events, github, headers, jobs, plain, processor, webhook

PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "acme/shop"}, "sender": {"login": "dana"}}
ENVELOPE = {"source": "crm", "event_type": "customer.updated", "payload": {"a": 1}}


def alerts(*fingerprints: str) -> dict[str, object]:
    return {
        "groupKey": "g",
        "externalURL": "https://am.example.org",
        "alerts": [
            {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-03-02T10:00:00Z", "fingerprint": f}
            for f in fingerprints
        ],
    }


async def test_an_event_then_its_jobs() -> None:
    sends = await processor(
        agent("zeta", Trigger(type="com.github.push"), timeout_s=45),
        agent("alpha", Trigger(type="com.github.*"), Trigger(type="*"), version="2.1.0"),
        agent("other", Trigger(type="com.github.issues.*")),
    ).handle(github("push", PUSH), at(7))
    assert [type(send.message).__name__ for send in sends] == ["Event", "Job", "Job"]
    event, (first, second) = events(sends)[0], jobs(sends)
    assert (first.agent, first.agent_version) == ("alpha", "2.1.0")  # once, though two of its triggers match
    assert (second.agent, second.timeout_sec) == ("zeta", 45)
    assert first.job_id == triggered_job_id(event.uid, "alpha", "2.1.0")
    assert first.event == event
    assert (first.partition_key, first.created_at, first.tenant) == (event.partition_key, event.time, event.tenant)
    assert event.uid == event_uid("default", "https://github.com/acme/shop", "gh-1")
    assert (event.origin.offset, event.origin.kind, event.origin.delivery_id) == (7, "webhook", "gh-1")


async def test_only_live_versions_are_triggered() -> None:
    old, new = (agent("a", Trigger(type="*"), version=version) for version in ("1.0.0", "2.0.0"))
    catalog = catalog_of([old, new])
    catalog.apply("a", AgentRecord(name="a", live_version="1.0.0"))
    target = processor(catalog=catalog)
    assert [job.agent_version for job in jobs(await target.handle(plain(ENVELOPE), at(0)))] == ["1.0.0"]
    catalog.apply("a", None)
    assert jobs(await target.handle(plain(ENVELOPE), at(1))) == []


async def test_the_same_record_gives_the_same_outputs_again() -> None:
    agents = [agent("a", Trigger(type="*"))]
    shared = processor(*agents)
    first = await shared.handle(webhook("alertmanager", alerts("f1", "f2")), at(3))
    again = await shared.handle(webhook("alertmanager", alerts("f1", "f2")), at(3))
    fresh = await processor(*agents).handle(webhook("alertmanager", alerts("f1", "f2")), at(3))
    assert first == again == fresh
    assert len(first) == 4


async def test_a_duplicate_delivery_makes_nothing() -> None:
    target = processor(agent("a", Trigger(type="*")))
    before = _deliveries("webhook", "duplicate")
    assert await target.handle(github("push", PUSH), at(1))
    assert await target.handle(github("push", PUSH), at(2)) == ()
    assert _deliveries("webhook", "duplicate") == before + 1


@pytest.mark.parametrize(
    "other",
    [
        github("push", PUSH, delivery_id="gh-2"),
        github("push", PUSH, ce_tenant="someone-else"),
        webhook("elsewhere", PUSH, delivery_id="gh-1"),
    ],
    ids=["id", "tenant", "source"],
)
async def test_another_id_tenant_or_source_is_no_duplicate(other: object) -> None:
    target = processor()
    assert await target.handle(github("push", PUSH), at(1))
    assert await target.handle(other, at(2))  # type: ignore[arg-type]


async def test_a_tenant_with_a_colon_does_not_collide() -> None:
    target = processor()
    one = plain({**ENVELOPE, "id": "1", "source": "b:c"}, ce_tenant="a")
    two = plain({**ENVELOPE, "id": "1", "source": "c"}, ce_tenant="a:b")
    assert await target.handle(one, at(1))
    assert not any(headers(list(await target.handle(two, at(2)))))


async def test_same_id_with_other_content_is_flagged_and_processed_once() -> None:
    target = processor(agent("a", Trigger(type="*")))
    changed = {**PUSH, "ref": "refs/heads/other"}
    first = await target.handle(github("push", PUSH), at(1))
    second = await target.handle(github("push", changed), at(2))
    assert all(header.get(CONFLICT_HEADER) == "true" for header in headers(list(second)))
    assert not any(headers(list(first)))
    original, conflicting = events(first)[0], events(second)[0]
    assert conflicting.id.startswith("gh-1~")
    assert conflicting.uid != original.uid
    assert conflicting.data == changed
    assert jobs(second)[0].job_id != jobs(first)[0].job_id
    assert await target.handle(github("push", changed), at(2)) == second  # read again
    assert await target.handle(github("push", changed), at(3)) == ()  # delivered again
    assert await target.handle(github("push", PUSH), at(4)) == ()


async def test_a_reminder_is_the_same_event_again_and_a_retry_is_none() -> None:
    """The same bytes of a sender without ids: a retry comes within minutes, a reminder after ``repeat_interval``, 4 hours."""
    target = processor(agent("a", Trigger(type="*")))

    async def delivered(time: str, offset: int) -> object:
        record = webhook("alertmanager", alerts("f1"), delivery_id="sha256:ab", ce_time=f"2026-03-02T{time}Z")
        return await target.handle(record, at(offset))

    first = await delivered("10:00:00", 1)
    assert await delivered("10:59:59.999", 2) == ()
    reminder = await delivered("14:00:00", 3)
    assert events(reminder)[0].uid == events(first)[0].uid
    assert jobs(reminder)[0].job_id == jobs(first)[0].job_id, "so that reasoning begins no second run"
    assert await delivered("14:00:30", 4) == ()
    assert await delivered("14:00:00", 3) == reminder, "read again"
    assert await delivered("10:30:00", 5) == ()


@pytest.mark.parametrize(
    "delivery",
    [
        partial(github, "push", PUSH),
        partial(webhook, "jenkins", {"build": {"phase": "STARTED"}}, delivery_id="sha256:ab"),
    ],
    ids=["an id of the sender", "a digest, but never a reminder"],
)
async def test_other_ids_are_claimed_whenever_they_come(delivery: Callable[..., RawDelivery]) -> None:
    target = processor()
    assert await target.handle(delivery(ce_time="2026-03-02T10:00:00Z"), at(1))
    assert await target.handle(delivery(ce_time="2026-03-04T10:00:00Z"), at(2)) == ()


async def test_envelopes_without_an_id_are_named_by_position_and_never_deduped() -> None:
    target = processor()
    one = events(await target.handle(plain(ENVELOPE), at(10)))[0]
    two = events(await target.handle(plain(ENVELOPE), at(11)))[0]
    assert (one.id, two.id) == ("ingest.raw/0/10", "ingest.raw/0/11")
    assert one.uid != two.uid
    assert one.origin.delivery_id is None


async def test_a_redriven_record_keeps_the_name_of_its_first_place() -> None:
    again = Context(Source("ingest.raw", 0, 99), {"dlq_position": "ingest.raw/0/10"}, at().timestamp_ms)
    target = processor()
    one, two = [events(await target.handle(plain(ENVELOPE), context))[0] for context in (at(10), again)]
    assert one.uid == two.uid
    assert two.origin.offset == 99


async def test_envelopes_and_cloudevents_with_an_id_are_deduped() -> None:
    target = processor()
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    for record in (plain({**ENVELOPE, "id": "1"}), plain(event)):
        assert await target.handle(record, at(1))
        assert await target.handle(record, at(2)) == ()


async def test_a_bad_delivery_does_not_hold_its_id() -> None:
    claims = MemoryClaims()
    target = processor(claims=claims)
    with pytest.raises(BadMessage):
        await target.handle(webhook("alertmanager", {"alerts": [{"status": "?"}]}), at(1))
    assert not any(headers(list(await target.handle(webhook("alertmanager", alerts("f1")), at(2)))))


async def test_a_batch_is_all_or_nothing() -> None:
    broken = alerts("f1", "f2")
    broken["alerts"][1]["status"] = "unknown"  # type: ignore[index]
    with pytest.raises(BadMessage) as caught:
        await processor().handle(webhook("alertmanager", broken), at())
    assert caught.value.where == "/alerts/1/status"


async def test_fan_out_is_bounded() -> None:
    body = alerts(*(f"f{number}" for number in range(4)))
    assert len(await processor(max_fan_out=4).handle(webhook("alertmanager", body), at())) == 4
    with pytest.raises(BadMessage) as caught:
        await processor(max_fan_out=3).handle(webhook("alertmanager", body), at())
    assert caught.value.cause == "fan_out"


async def test_a_batch_answers_each_delivery_for_itself() -> None:
    bad = webhook("alertmanager", {"alerts": [{"status": "?"}]}, delivery_id="bad")
    inputs = [(github("push", PUSH, delivery_id=name), at(place)) for place, name in enumerate(("a", "b", "a"))]
    alone = [await processor().handle(*one) for one in inputs[:2]]
    answers = await processor().handle_all([inputs[0], (bad, at(7)), *inputs[1:]])
    assert isinstance(answers[1], BadMessage)
    assert [answers[0], *answers[2:]] == [*alone, ()], "the third is a delivery that the first one brought"


async def test_an_outage_of_the_claims_is_passed_on() -> None:
    class Away(MemoryClaims):
        async def claim(self, claim: Claim) -> Outcome:
            raise DependencyUnavailable("away")

    with pytest.raises(DependencyUnavailable):
        await processor(claims=Away()).handle(github("push", PUSH), at())


async def test_another_message_type_is_a_bug() -> None:
    with pytest.raises(FatalError):
        await processor().handle(Job(job_id="1", prompt="x"), at())


@pytest.mark.parametrize(
    ("record", "tenant"),
    [
        (plain({**ENVELOPE, "tenant": "own"}), "own"),
        (plain({**ENVELOPE, "tenant": "own"}, ce_tenant="gateway"), "gateway"),
        (plain(ENVELOPE), "default"),
        (github("push", PUSH, ce_tenant="gateway"), "gateway"),
        (plain({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "tenant": "forged"}), "default"),
    ],
)
async def test_the_tenant_is_the_headers_then_the_envelopes(record: object, tenant: str) -> None:
    assert events(await processor().handle(record, at()))[0].tenant == tenant  # type: ignore[arg-type]


async def test_every_sample_triggers_the_runs_that_it_says() -> None:
    target = processor(*builtin_definitions())
    triggered: dict[str, int] = {}
    for offset, sample in enumerate(samples()):
        sends = await target.handle(_as_the_gateway_writes_it(sample, offset), at(offset))
        assert len(jobs(sends)) == sample.runs, sample.name
        for job in jobs(sends):
            triggered[job.agent] = triggered.get(job.agent, 0) + 1
    assert set(triggered) == {definition.name for definition in builtin_definitions() if definition.triggers}


def _as_the_gateway_writes_it(sample, offset: int):  # type: ignore[no-untyped-def]
    source = sample.path.rpartition("/")[2]
    if source != "events":
        delivery_id = sample.headers.get("x-github-delivery", f"sha256:{offset}")
        return webhook(source, sample.body, delivery_id=delivery_id, http=sample.headers)
    named = {f"ce_{key[3:]}" if key.startswith("ce-") else key: value for key, value in sample.headers.items()}
    return plain(sample.body, ce_tenant="default", **named)


def _deliveries(form: str, outcome: str) -> float:
    labels = {"form": form, "outcome": outcome}
    return REGISTRY.get_sample_value("headrace_ingest_deliveries_total", labels) or 0.0

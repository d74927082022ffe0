"""The codec: bytes, headers, what it refuses and how it says so."""

import base64
import copy
import struct
from io import BytesIO
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.messages.agent import AgentRecord
from headrace.messages.base import Message
from headrace.messages.codec import AVRO_FORMS, Codec, UnknownSchema
from headrace.messages.errors import (
    BadMessage,
    FatalError,
    RejectedMessage,
    UndecodableMessage,
    UnsupportedVersion,
)
from headrace.messages.event import Event, Origin, RawDelivery
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCall, ToolCalls
from tests.contract.ids import OUR_ID, MemoryIds, datum_of
from tests.contract.strategies import messages

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLS = st.lists(messages(ToolCall), min_size=1, max_size=3).map(tuple)
RESULT = AgentResult(job_id="job-1", status="completed", completed_at="2026-03-02T09:17:31Z", output={"n": [1, None]})


def event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "uid": "u",
        "id": "1",
        "source": "s",
        "type": "t",
        "time": "2026-03-02T09:17:31Z",
        "tenant": "acme",
        "partition_key": "k",
        "data": {"kept": None},
        "origin": Origin(kind="webhook", topic="ingest.raw", partition=0, offset=0),
    }
    return Event(**fields | changes)


def round_trip(message: Message, codec: Codec | None = None) -> Message:
    codec = codec or Codec(MemoryIds())
    record = codec.encode(message, service="reasoning", cause_headers={})
    headers = {name: value.decode() for name, value in record.headers}
    return codec.decode(record.topic, record.key, record.value, headers)


def test_job_record_has_the_bytes_and_headers_that_the_contract_promises() -> None:
    cause = {"ce_id": "event-1", "ce_correlationid": "delivery-1", "traceparent": TRACE}
    record = Codec().encode(
        Job(job_id="job-1", prompt="hi", tenant="acme", agent="triager"), service="ingest", cause_headers=cause
    )
    assert record.topic == "agent.jobs"
    assert record.key == b"job-1"
    assert record.value == b'{"version":"1.1","job_id":"job-1","prompt":"hi","tenant":"acme","agent":"triager"}'
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"job-1",
        "ce_source": b"/headrace/ingest",
        "ce_type": b"dev.headrace.agent.job",
        "ce_dataschema": b"agent.jobs/1",
        "content-type": b"application/json",
        "ce_tenant": b"acme",
        "ce_runid": b"job-1",
        "ce_agent": b"triager",
        "ce_causationid": b"event-1",
        "ce_correlationid": b"delivery-1",
        "traceparent": TRACE.encode(),
    }


def test_ids_of_any_length_do_not_make_a_record_of_any_length() -> None:
    long = "x" * 500_000
    record = Codec().encode(event(), service="ingest", cause_headers={"ce_id": long, "ce_correlationid": long})
    assert not {"ce_causationid", "ce_correlationid"} & dict(record.headers).keys()
    record = Codec().encode(event(), service="ingest", cause_headers={"ce_id": "1", "ce_correlationid": long})
    assert dict(record.headers)["ce_correlationid"] == b"1"


def test_a_broken_traceparent_is_not_passed_on() -> None:
    record = Codec().encode(event(), service="ingest", cause_headers={"ce_id": "1", "traceparent": "00-nonsense"})
    assert "traceparent" not in dict(record.headers)


def test_null_data_survives_though_defaults_do_not_travel() -> None:
    assert round_trip(event(data=None)) == event(data=None)
    assert round_trip(event()) == event()


def test_version_alone_is_a_whole_object() -> None:
    value = Codec().encode(AgentRecord(name="a", live_version="1.0.0"), service="cli", cause_headers={}).value
    assert value == b'{"schema_version":"1.0","name":"a","live_version":"1.0.0"}'


def test_raw_delivery_is_untouched() -> None:
    delivery = RawDelivery(body=b'{ "a":1,"a":2 }\xff', headers={"ce_id": "1", "http-headers": "{}"}, key="k")
    record = Codec().encode(delivery, service="gateway", cause_headers={"ce_id": "other"})
    assert (record.value, record.key) == (delivery.body, b"k")
    assert record.headers == [("ce_id", b"1"), ("http-headers", b"{}")]
    assert round_trip(delivery) == delivery


def test_key_override_goes_before_the_message_key() -> None:
    assert Codec().encode(event(), service="ingest", cause_headers={}, key="mine").key == b"mine"


@settings(max_examples=150, deadline=None)
@given(messages(ToolCalls, schema_version=st.just("1.0"), calls=CALLS))
def test_json_round_trip_and_stable_bytes(message: ToolCalls) -> None:
    again = round_trip(message)
    assert again == message
    encode = Codec().encode
    assert (
        encode(message, service="tools", cause_headers={}).value
        == encode(again, service="tools", cause_headers={}).value
    )


STRANGERS_FAULTS = [
    (b"", "json", "byte 0"),
    (b"hello", "json", "byte 0"),
    (b"\xff\xfe", "json_encoding", "byte 0"),
    (b'{"job_id":"a","job_id":"b","prompt":"x"}', "json_duplicate_key", "job_id"),
    (b"[" * 100_000, "json_depth", "byte 64"),
    (b'{"job_id":"a","prompt":"x","retry_count":' + b"9" * 5000 + b"}", "json_number", "number 9"),
    (b'{"job_id":"a","prompt":"x","input":NaN}', "json_number", None),
    (b'{"job_id":"a","prompt":"\\ud800"}', "json_encoding", None),
    (b'"text"', "schema", "/"),
    (b'{"prompt":"x"}', "schema", "/job_id"),
    (b'{"job_id":"a"}', "schema", "/"),
    (b'{"job_id":"a","prompt":"x","timeout_sec":"300"}', "schema", "/timeout_sec"),
    (
        b'{"job_id":"a","prompt":"x","context":{"previous_results":[{}]}}',
        "schema",
        "/context/previous_results/0/node_id",
    ),
]


@pytest.mark.parametrize("headers", [{}, {"ce_source": "/headrace/gateway"}], ids=["stranger", "claims to be ours"])
@pytest.mark.parametrize(("value", "cause", "where"), STRANGERS_FAULTS)
def test_fault_is_named_with_its_place(value: bytes, cause: str, where: str | None, headers: dict[str, str]) -> None:
    if headers and cause in ("json_duplicate_key", "json_number") and b"999" not in value:
        pytest.skip("a record that says it is ours is read by msgspec alone, which is not that strict")
    with pytest.raises(UndecodableMessage) as caught:
        Codec().decode("agent.jobs", None, value, headers)
    assert caught.value.cause == cause
    if where is None:
        assert caught.value.where is None
    else:
        assert where in str(caught.value.where)


def test_errors_quote_no_values() -> None:
    secret = "sk-verysecretverysecret"
    value = orjson.dumps({"version": "1.0", "job_id": [secret], "prompt": {"x": secret}, "timeout_sec": secret})
    with pytest.raises(UndecodableMessage) as caught:
        Codec().decode("agent.jobs", None, value, {})
    assert secret not in str(caught.value)
    assert caught.value.where == "/job_id"
    assert "array" in str(caught.value)


@pytest.mark.parametrize("headers", [{}, {"ce_source": "/headrace/gateway"}])
def test_other_major_version_is_refused_by_name(headers: dict[str, str]) -> None:
    value = orjson.dumps({"version": "2.0", "job_id": "job-9", "prompt": ["new", "meaning"]})
    with pytest.raises(UnsupportedVersion, match=r"'2\.0'") as caught:
        Codec().decode("agent.jobs", None, value, headers)
    assert caught.value.job_id == "job-9"
    with pytest.raises(UnsupportedVersion) as caught:
        Codec().decode("agent.jobs", None, b'{"version":"10.0","job_id":7}', headers)
    assert caught.value.job_id is None


def test_later_minor_version_is_read() -> None:
    job = Codec().decode("agent.jobs", None, b'{"version":"1.9","job_id":"a","prompt":"x","colour":"red"}', {})
    assert isinstance(job, Job)
    assert job.version == "1.9"


@pytest.mark.parametrize(
    "data",
    [
        {"data": {"version": "1.0", "job_id": "a", "prompt": "x"}},
        {"data_base64": base64.b64encode(b'{"version":"1.0","job_id":"a","prompt":"x"}').decode()},
    ],
)
def test_structured_cloudevent_is_read(data: dict[str, Any]) -> None:
    value = orjson.dumps({"specversion": "1.0", "id": "1", "source": "/x", "type": "job", **data})
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    assert Codec().decode("agent.jobs", None, value, headers) == Job(version="1.0", job_id="a", prompt="x")


@pytest.mark.parametrize(
    "envelope",
    [[], {"specversion": "0.3", "data": {}}, {"specversion": "1.0"}, {"specversion": "1.0", "data_base64": "%%"}],
)
def test_broken_structured_cloudevent_is_refused(envelope: Any) -> None:
    headers = {"content-type": "application/cloudevents+json"}
    with pytest.raises(UndecodableMessage) as caught:
        Codec().decode("agent.jobs", None, orjson.dumps(envelope), headers)
    assert caught.value.cause == "cloudevent"


def test_record_without_value_or_with_unknown_topic_is_refused() -> None:
    with pytest.raises(UndecodableMessage) as caught:
        Codec().decode("agent.jobs", b"k", None, {})
    assert caught.value.cause == "empty"
    with pytest.raises(UndecodableMessage) as caught:
        Codec().decode("other", b"k", b"{}", {})
    assert caught.value.cause == "unknown_topic"


def test_value_that_no_format_holds_is_rejected() -> None:
    lone = Job(job_id="a", prompt="x", input={"text": "\ud800"})
    with pytest.raises(RejectedMessage) as caught:
        Codec().encode(lone, service="gateway", cause_headers={})
    assert caught.value.cause == "unencodable"
    for bad in (RESULT.replace(output="\ud800"), RESULT.replace(steps=2**64)):
        with pytest.raises(RejectedMessage):
            Codec(MemoryIds()).encode(bad, service="reasoning", cause_headers={})


def test_avro_is_the_confluent_wire_format() -> None:
    record = Codec(MemoryIds()).encode(RESULT, service="reasoning", cause_headers={})
    assert record.value[:5] == struct.pack(">bI", 0, OUR_ID)
    assert dict(record.headers)["content-type"] == b"application/vnd.confluent.avro"
    datum = fastavro.schemaless_reader(BytesIO(record.value[5:]), AVRO_FORMS[AgentResult].schema, None)
    assert isinstance(datum, dict)
    assert datum["output"] == '{"n":[1,null]}'


def test_avro_needs_a_registry_and_a_known_writer() -> None:
    with pytest.raises(FatalError):
        Codec().encode(RESULT, service="reasoning", cause_headers={})
    with pytest.raises(UnknownSchema) as caught:
        Codec(MemoryIds()).decode("agent.results", None, struct.pack(">bI", 0, 99) + b"x", {})
    assert caught.value.schema_id == 99


def test_evolved_writers_are_read_both_ways() -> None:
    ids = MemoryIds()
    ours = AVRO_FORMS[AgentResult].schema
    newer, older = copy.deepcopy(ours), copy.deepcopy(ours)
    newer["fields"].insert(2, {"name": "region", "type": "string", "default": "eu"})
    older["fields"] = [field for field in older["fields"] if field["name"] not in ("usage", "steps", "tenant")]
    ids.schemas |= {8: newer, 9: older}
    codec = Codec(ids)
    datum = datum_of(RESULT) | {"region": "us"}
    for schema_id, schema in ((8, newer), (9, older)):
        buffer = BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), datum)
        value = struct.pack(">bI", 0, schema_id) + buffer.getvalue()
        assert codec.decode("agent.results", None, value, {}) == RESULT


@pytest.mark.parametrize("cut", [0, 4, 5, 6, 20, -1])
def test_cut_or_padded_avro_is_undecodable(cut: int) -> None:
    codec = Codec(MemoryIds())
    value = codec.encode(RESULT, service="reasoning", cause_headers={}).value
    for broken in (value[:cut], value + b"\x00", b"\x01" + value[1:], value[:5] + b"\xff" * 40):
        with pytest.raises(UndecodableMessage) as caught:
            codec.decode("agent.results", None, broken, {})
        assert caught.value.cause == "avro"


def test_avro_that_breaks_a_rule_of_the_model_is_a_schema_error() -> None:
    codec = Codec(MemoryIds())
    bad = RESULT.replace(status="sideways")
    record = codec.encode(bad, service="reasoning", cause_headers={})
    with pytest.raises(BadMessage) as caught:
        codec.decode(record.topic, None, record.value, {})
    assert (caught.value.cause, caught.value.where) == ("schema", "/status")


@settings(max_examples=200, deadline=None)
@given(messages(AgentResult, version=st.sampled_from(["1.0", "1.1", "1.12"])))
def test_avro_round_trip_and_stable_bytes(message: AgentResult) -> None:
    codec = Codec(MemoryIds())
    again = round_trip(message, codec)
    assert again == message
    first = codec.encode(message, service="reasoning", cause_headers={})
    assert first == codec.encode(again, service="reasoning", cause_headers={})

"""Chains without Kafka: what is hashed, and that whatever is done to a chain is found and named."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.audit.chain import GENESIS, Head, entry_hash, intact, link, record_digest
from headrace.audit.check import Break, Check
from headrace.audit.deep import Digests
from headrace.audit.facts import name
from headrace.audit.reading import Read
from headrace.messages.audit import AuditEvent
from headrace.messages.codec import AVRO_FORMS
from headrace.observe.logging import redact_text
from headrace.runtime.api import Source
from headrace.runtime.poller import Record

FORM = AVRO_FORMS[AuditEvent]
SCHEMA = fastavro.parse_schema(FORM.schema)
HEADERS = st.lists(
    st.tuples(st.text(st.characters(codec="utf-8"), max_size=4), st.none() | st.binary(max_size=4)), max_size=3
)


def chain(offsets: Sequence[int], topic: str = "agent.jobs", partition: int = 2) -> list[AuditEvent]:
    """Entries for records at these offsets."""
    entries: list[AuditEvent] = []
    for offset in offsets:
        head = Head.of(entries[-1]) if entries else None
        facts: dict[str, Any] = {
            "kind": "job_requested",
            "run_id": f"run-{offset}",
            "cost_usd": 0.1,
            "tools": ("a", "b"),
        }
        entries.append(
            link(head, Source(topic, partition, offset), 1_000 + offset, record_digest(None, b"%d" % offset, ()), facts)
        )
    return entries


def reads(entries: Sequence[AuditEvent | None], key: str = "agent.jobs/2") -> list[Read]:
    return [Read(1, place, key, entry) for place, entry in enumerate(entries)]


def check(
    found: Sequence[Read], *, truncated: bool = False, before: Any = None, after: Any = None
) -> dict[str, Break | None]:
    checker = Check(frozenset({1}) if truncated else frozenset())
    for item in found:
        checker.add(item)
    return {result.name: result.broken for result in checker.finish(before or {}, after or {})}


def the_break(found: Sequence[Read], **more: Any) -> Break:
    broken = check(found, **more)["agent.jobs/2"]
    assert broken is not None
    return broken


def rehashed(entry: AuditEvent, **changes: Any) -> AuditEvent:
    """An entry that somebody changed, and gave the hash that it should have."""
    changed = entry.replace(**changes)
    return changed.replace(hash=entry_hash(changed))


# --- what is hashed ------------------------------------------------------------------------------------------------------


def test_the_hash_can_be_made_again_from_the_page_alone() -> None:
    """Stored chains depend on these bytes: this test repeats the definition, and pins one value."""
    first, second = chain([7, 9])
    assert first.previous_hash == GENESIS
    content = {
        "id": second.id,
        "kind": "job_requested",
        "source_topic": "agent.jobs",
        "source_partition": 2,
        "source_offset": 9,
        "source_timestamp_ms": 1_009,
        "record_digest": second.record_digest,
        "sequence": 1,
        "previous_offset": 7,
        "run_id": "run-9",
        "tools": ["a", "b"],
        "cost_usd": struct.pack(">d", 0.1).hex(),
    }
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    assert second.hash == hashlib.sha256(first.hash.encode() + canonical).hexdigest()
    assert second.id == "4883366f-0b70-5802-8e5b-0f870f4f02f9"
    assert second.hash == "91bde4d7744ec47b5f37509c40f7cc37cc7a95c415695b788dc937dd60535ccf"


def test_the_digest_is_of_every_byte() -> None:
    length = struct.Struct(">Q").pack
    parts = [length(1), b"k", b"\xff" * 8, length(1), length(2), b"ce", length(0)]
    assert record_digest(b"k", None, [("ce", b"")]) == hashlib.sha256(b"".join(parts)).hexdigest()


RECORDS = st.tuples(st.none() | st.binary(max_size=4), st.none() | st.binary(max_size=4), HEADERS)


@settings(max_examples=500, deadline=None)
@given(RECORDS, RECORDS)
def test_different_records_have_different_digests(one: Any, other: Any) -> None:
    assert (record_digest(*one) == record_digest(*other)) == (one == other)


def test_an_entry_survives_avro_with_its_hash() -> None:
    for entry in chain([0, 3]):
        assert intact(FORM.load(datum(avro(entry))))


@pytest.mark.parametrize("name", sorted(set(AuditEvent.__struct_fields__) - {"hash"}))
def test_every_field_is_hashed(name: str) -> None:
    entry = chain([4, 5])[1]
    value = getattr(entry, name)
    other: Any = "event_received" if name == "kind" else "1.1" if name == "schema_version" else None
    if other is None:
        kind = AuditEvent.__annotations__[name]
        other = (
            "0f" * 32
            if name in ("previous_hash", "record_digest")
            else ("x",)
            if name == "tools"
            else 41
            if "int" in str(kind)
            else 0.2
            if "float" in str(kind)
            else "other"
        )
    assert other != value
    assert not intact(entry.replace(**{name: other}))


# --- whole chains ----------------------------------------------------------------------------------------------------------

GAPPED = st.lists(st.integers(1, 5), min_size=1, max_size=12).map(
    lambda gaps: [sum(gaps[: i + 1]) - 1 for i in range(len(gaps))]
)


@settings(max_examples=200, deadline=None)
@given(GAPPED, GAPPED)
def test_whole_chains_have_no_break_whatever_their_gaps(one: list[int], other: list[int]) -> None:
    """Markers and compaction leave gaps in source offsets; chains lie between each other in a partition."""
    mixed = [*reads(chain(one)), *reads(chain(other, "tool.calls", 0), "tool.calls/0")]
    mixed.sort(key=lambda item: item.offset)
    assert check(mixed) == {"agent.jobs/2": None, "tool.calls/0": None}


@settings(max_examples=200, deadline=None)
@given(GAPPED.filter(lambda offsets: len(offsets) > 2), st.data())
def test_what_retention_deleted_is_no_break_and_the_same_without_retention_is(offsets: list[int], data: Any) -> None:
    entries = chain(offsets)
    gone = data.draw(st.integers(1, len(entries) - 1))
    assert check(reads(entries[gone:]), truncated=True) == {"agent.jobs/2": None}
    assert the_break(reads(entries[gone:])).what == "missing"


# --- what is done to them ----------------------------------------------------------------------------------------------------

LONG = st.lists(st.integers(1, 3), min_size=4, max_size=10).map(
    lambda gaps: [sum(gaps[: i + 1]) for i in range(len(gaps))]
)


@settings(max_examples=200, deadline=None)
@given(LONG, st.data())
def test_a_dropped_entry_is_missing(offsets: list[int], data: Any) -> None:
    entries = chain(offsets)
    place = data.draw(st.integers(0, len(entries) - 2))
    broken = the_break(reads(entries[:place] + entries[place + 1 :]))
    assert (broken.what, broken.source_offset, broken.at) == ("missing", offsets[place], (1, place))


@settings(max_examples=200, deadline=None)
@given(LONG, st.data())
def test_two_that_changed_places_are_reordered(offsets: list[int], data: Any) -> None:
    entries = chain(offsets)
    place = data.draw(st.integers(0, len(entries) - 2))
    later = data.draw(st.integers(place + 1, len(entries) - 1))
    entries[place], entries[later] = entries[later], entries[place]
    broken = the_break(reads(entries))
    assert (broken.what, broken.source_offset, broken.at) == ("reordered", offsets[place], (1, place))


@settings(max_examples=200, deadline=None)
@given(LONG, st.data())
def test_an_entry_that_is_there_twice_is_repeated(offsets: list[int], data: Any) -> None:
    entries = chain(offsets)
    place = data.draw(st.integers(0, len(entries) - 1))
    again = data.draw(st.integers(place + 1, len(entries)))
    broken = the_break(reads([*entries[:again], entries[place], *entries[again:]]))
    assert (broken.what, broken.source_offset, broken.at) == ("repeated", offsets[place], (1, again))


@settings(max_examples=200, deadline=None)
@given(LONG, st.data())
def test_a_changed_entry_is_edited_with_its_hash_made_anew_too(offsets: list[int], data: Any) -> None:
    entries = chain(offsets)
    place = data.draw(st.integers(0, len(entries) - 2))
    changed = entries[place].replace(user_id="somebody else")
    for forged in (changed, rehashed(changed)):
        broken = the_break(reads([*entries[:place], forged, *entries[place + 1 :]]))
        assert (broken.what, broken.source_offset, broken.at) == ("edited", offsets[place], (1, place))


def test_any_flipped_byte_of_a_value_is_found() -> None:
    """Each byte of the middle entry's Avro value in turn."""
    entries = chain([1, 2, 4])
    value = avro(entries[1])
    for place in range(len(value)):
        flipped = value[:place] + bytes([value[place] ^ 0x01]) + value[place + 1 :]
        found = check(reads([entries[0], decoded(flipped), entries[2]]))
        broken = found["agent.jobs/2"]
        assert broken is not None, place
        assert broken.at == (1, 1), (place, broken)
        assert (broken.what, broken.source_offset) == ("edited", 2), (place, broken)


def test_an_entry_under_another_key_is_edited() -> None:
    first, second = chain([1, 2])
    found = check([Read(1, 0, first.chain, first), Read(1, 1, "agent.jobs/3", second)])
    broken = found["agent.jobs/2"]
    assert broken is not None
    assert (broken.what, broken.at) == ("edited", (1, 1))


def test_an_entry_whose_offsets_do_not_follow_is_edited() -> None:
    first, second = chain([5, 6])
    back = rehashed(second, source_offset=4)
    elsewhere = rehashed(second, previous_offset=3)
    for forged in (back, elsewhere):
        assert the_break(reads([first, forged])).what == "edited"


def test_only_the_first_break_of_a_chain_is_named() -> None:
    entries = chain([0, 1, 2, 3, 4, 5])
    broken = the_break(reads([entries[0], entries[2], None, entries[3], entries[3]]))
    assert (broken.what, broken.source_offset) == ("missing", 1)


def test_what_the_service_has_committed_is_held_against_the_end() -> None:
    entries = chain([0, 1, 2, 3])
    last = {"agent.jobs/2": Head.of(entries[-1])}
    early = {"agent.jobs/2": Head.of(entries[1])}
    assert check(reads(entries), before=last, after=last) == {"agent.jobs/2": None}
    assert check(reads(entries), before=early, after=last) == {"agent.jobs/2": None}
    cut = the_break(reads(entries[:2]), before=last, after=last)
    assert (cut.what, cut.source_offset, cut.at) == ("missing", 3, None)
    assert the_break([], before=last, after=last).what == "missing"
    assert check([], truncated=True, before=last, after=last) == {"agent.jobs/2": None}
    forged = the_break(reads(entries), before=early, after=early)
    assert (forged.what, forged.source_offset) == ("forged", 3)


# --- the records themselves ---------------------------------------------------------------------------------------------------


def digests(offsets: Sequence[int]) -> Digests:
    kept = Digests()
    for entry in chain(offsets):
        kept.add(entry)
    return kept


def deep(
    entries: Sequence[int], records: Sequence[Record], *, oldest: int = 0, end: int = 100, compacted: bool = False
) -> Any:
    kept = digests(entries)
    kept.begin(oldest)
    for record in records:
        kept.check(record, compacted=compacted)
    kept.end(end, compacted=compacted)
    return kept.broken and (kept.broken.what, kept.broken.source_offset)


def record(offset: int) -> Record:
    return Record("agent.jobs", 2, offset, None, b"%d" % offset, (), 1_000 + offset, 0)


def test_records_are_held_against_their_entries() -> None:
    records = [record(offset) for offset in (1, 3, 4, 7)]
    assert deep((1, 3, 4, 7), records) is None
    assert deep((0, 1, 3, 4, 7), records, oldest=1) is None
    assert deep((1, 3, 4), records) is None  # 7 is not audited yet
    assert deep((1, 3, 7), records) == ("unaudited", 4)
    assert deep((1, 3, 4, 5, 7), records) == ("source_missing", 5)
    assert deep((1, 3, 4, 7, 8), records) == ("source_missing", 8)
    assert deep((1, 3, 4, 5, 7, 8), records, compacted=True) is None
    for changed in ({"value": b"x"}, {"key": b"k"}, {"headers": [("h", None)]}):
        altered = [*records[:2], msgspec.structs.replace(records[2], **changed), records[3]]
        assert deep((1, 3, 4, 7), altered) == ("source_edited", 4)
        assert deep((1, 3, 4, 7), altered, compacted=True) == ("source_edited", 4)


# --- helpers ----------------------------------------------------------------------------------------------------------------


def avro(entry: AuditEvent) -> bytes:
    return FORM.encode(entry)


def datum(value: bytes) -> dict[str, Any]:
    buffer = BytesIO(value)
    found = fastavro.schemaless_reader(buffer, SCHEMA, None)
    if buffer.tell() != len(value):
        raise ValueError("bytes after the datum")
    assert isinstance(found, dict)
    return found


def decoded(value: bytes) -> AuditEvent | None:
    try:
        return FORM.load(datum(value))
    except Exception:
        return None


@given(st.from_regex(r"[0-9a-f-]{1,64}", fullmatch=True))
def test_what_is_written_like_an_id_is_no_credential(text: str) -> None:
    assert redact_text(text) == text
    assert name(text) == text

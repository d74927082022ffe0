"""Dead letters on real Kafka: listed, shown, and sent back exactly once."""

from dataclasses import dataclass, field

import pytest

from headrace.local.endpoints import Endpoints
from headrace.messages.codec import Encoded
from headrace.messages.errors import UndecodableMessage
from headrace.runtime.admin import Admin
from headrace.runtime.deadletter import dead_letter
from headrace.runtime.deadletters import DeadLetters, UnknownEntry
from headrace.settings import MeshSettings
from headrace.topology import load_all
from tests.contract.kafka import read, write

SPECS = load_all()


@dataclass(frozen=True)
class Failed:
    """A record as the worker received it."""

    topic: str = "tool.calls"
    partition: int = 4
    offset: int = 17
    key: bytes | None = b"run-1"
    value: bytes | None = b"\xff not json"
    headers: list[tuple[str, bytes | None]] = field(default_factory=lambda: [("ce_id", b"1"), ("x", None)])


def letter(record: Failed, topic: str = "tools.dlq") -> Encoded:
    error = UndecodableMessage("not JSON, token sk-abcdefgh12345678", cause="json", where="byte 0")
    return dead_letter(record, error, topic=topic, group="headrace.tools", attempts=1)


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = MeshSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=namespace)
    Admin(settings).apply([SPECS["tool.calls"], SPECS["tools.dlq"]])
    return settings


def test_entry_says_what_failed_where_and_why(settings: MeshSettings) -> None:
    write(settings, [letter(Failed())])
    (entry,) = DeadLetters(settings, "tools").entries()
    assert (entry.topic, entry.partition, entry.offset) == ("tool.calls", 4, 17)
    assert (entry.cause, entry.where, entry.attempts) == ("json", "byte 0", 1)
    assert "not JSON" in entry.error
    assert "sk-" not in entry.error
    assert (entry.key, entry.value) == (b"run-1", b"\xff not json")
    assert entry.headers == (("ce_id", b"1"), ("x", None))
    assert DeadLetters(settings, "tools").entry(entry.id) == entry


def test_redrive_sends_the_original_back_once(settings: MeshSettings) -> None:
    write(settings, [letter(Failed()), letter(Failed(offset=18, key=b"run-2"))])
    box = DeadLetters(settings, "tools")
    first, second = box.entries()
    assert box.redrive([first.id], dry_run=True) == [first]
    assert read(settings, "tool.calls") == []

    assert box.redrive([first.id]) == [first]
    (record,) = read(settings, "tool.calls")
    assert (record.partition, record.key, record.value) == (4, b"run-1", b"\xff not json")
    assert record.headers == {"ce_id": b"1", "x": None, "dlq_redrives": b"1", "dlq_position": b"tool.calls/4/17"}

    assert [entry.id for entry in box.entries()] == [second.id]
    assert box.redrive([first.id]) == []
    assert box.redrive() == [second]
    assert box.redrive() == []
    assert len(read(settings, "tool.calls")) == 2
    assert [entry.redriven for entry in box.entries(include_redriven=True)] == [True, True]


def test_failing_again_counts_the_redrives(settings: MeshSettings) -> None:
    write(settings, [letter(Failed(headers=[("dlq_redrives", b"2"), ("ce_id", b"1")]))])
    box = DeadLetters(settings, "tools")
    assert [entry.redrives for entry in box.redrive()] == [2]
    (record,) = read(settings, "tool.calls")
    assert record.headers["dlq_redrives"] == b"3"


def test_redrive_in_several_transactions(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.runtime.deadletters._CHUNK", 2)
    write(settings, [letter(Failed(offset=number)) for number in range(5)])
    assert len(DeadLetters(settings, "tools").redrive()) == 5
    assert len(read(settings, "tool.calls")) == 5
    assert DeadLetters(settings, "tools").entries() == []


def test_a_redrive_that_dies_sends_nothing_back(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    write(settings, [letter(Failed()), letter(Failed(offset=18))])
    box = DeadLetters(settings, "tools")
    send_back = box._send_back

    def fail_at_the_second(producer: object, entry: object, marks: object) -> None:
        if entry.offset == 18:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        send_back(producer, entry, marks)  # type: ignore[arg-type]

    monkeypatch.setattr(box, "_send_back", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        box.redrive()
    assert len(DeadLetters(settings, "tools").redrive()) == 2
    assert len(read(settings, "tool.calls")) == 2


def test_unknown_or_foreign_entries_are_refused_and_nothing_is_sent(settings: MeshSettings) -> None:
    stranger = Encoded("tools.dlq", None, b"?", [])
    forged = letter(Failed(topic="agent.results"))
    write(settings, [letter(Failed()), stranger, forged])
    box = DeadLetters(settings, "tools")
    entries = box.entries()
    good = next(entry for entry in entries if entry.topic == "tool.calls")
    for other in (entry.id for entry in entries if entry is not good):
        with pytest.raises(UnknownEntry):
            box.redrive([good.id, other])
    with pytest.raises(UnknownEntry):
        box.redrive([good.id, "0/999"])
    with pytest.raises(UnknownEntry):
        box.entry("7/7")
    assert read(settings, "tool.calls") == []
    assert box.redrive() == [good]


def test_empty_or_missing_topic_has_no_entries(settings: MeshSettings) -> None:
    assert DeadLetters(settings, "tools").entries() == []
    assert DeadLetters(settings, "reasoning").redrive() == []
    with pytest.raises(KeyError):
        DeadLetters(settings, "nobody")

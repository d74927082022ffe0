"""Dead letters of one group sent back edited: the record says so, what does not fit is refused, other groups' stay as they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.audit.facts import of_headers
from headrace.local.endpoints import Endpoints
from headrace.messages.codec import Encoded
from headrace.messages.errors import RejectedMessage
from headrace.messages.headers import decode
from headrace.replay.redrive_edit import CantEdit, read_edit
from headrace.runtime.admin import Admin
from headrace.runtime.deadletter import dead_letter
from headrace.runtime.deadletters import DeadLetters
from headrace.settings import MeshSettings
from headrace.topology import load_all
from tests.contract.kafka import read, write
from tests.contract.test_deadletters import Failed

SPECS = load_all()
JOB = {"version": "1.0", "job_id": "job-1", "prompt": "hello", "timeout_sec": 5}


def letter(value: bytes, group: str = "reasoning", **changes: Any) -> Encoded:
    failed = Failed(**{"topic": "agent.jobs", "value": value, "key": b"job-1", **changes})
    return dead_letter(failed, RejectedMessage("no"), topic=f"{group}.dlq", group=f"headrace.{group}", attempts=1)


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = MeshSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=namespace)
    Admin(settings).apply([SPECS[name] for name in ("agent.jobs", "reasoning.dlq", "persistence.dlq")])
    return settings


def edit_of(folder: Path, content: Any) -> Any:
    path = folder / "edit.json"
    path.write_text(json.dumps(content))
    return read_edit(path)


PATCH = [
    {"op": "replace", "path": "/prompt", "value": "hello again"},
    {"op": "remove", "path": "/timeout_sec"},
    {"op": "add", "path": "/context", "value": {"session_id": "s"}},
]


def test_an_edited_record_goes_back_once_and_says_so(settings: MeshSettings, tmp_path: Path) -> None:
    value = json.dumps(JOB).encode()
    write(settings, [letter(value), letter(value, "persistence")])
    box, others = DeadLetters(settings, "reasoning"), DeadLetters(settings, "persistence")
    edit = edit_of(tmp_path, PATCH)
    [shown] = box.redrive(dry_run=True, edit=edit)
    assert shown.edited
    assert read(settings, "agent.jobs") == []
    box.redrive(edit=edit, by="cli:ada")
    assert box.redrive(edit=edit) == []
    [record] = read(settings, "agent.jobs")
    assert json.loads(record.value or b"") == {
        "version": "1.0",
        "job_id": "job-1",
        "prompt": "hello again",
        "context": {"session_id": "s"},
    }
    assert record.headers["dlq_edited"] == edit.digest.encode()
    assert [entry.redriven for entry in others.entries(include_redriven=True)] == [False]
    marker = next(one for one in read(settings, "reasoning.dlq") if one.value is None)
    facts = of_headers("reasoning.dlq", decode(list(marker.headers.items())), "default")
    assert (facts["user_id"], facts["status"], facts["service"]) == ("cli:ada", "redriven_edited", "reasoning")
    assert facts["origin"] == f"reasoning.dlq/{shown.id}"


def test_a_value_takes_the_place_of_one_that_nobody_could_read(settings: MeshSettings, tmp_path: Path) -> None:
    write(settings, [letter(b"\xff not json")])
    box = DeadLetters(settings, "reasoning")
    with pytest.raises(CantEdit, match="whole value"):
        box.redrive(edit=edit_of(tmp_path, PATCH))
    box.redrive(edit=edit_of(tmp_path, JOB))
    [record] = read(settings, "agent.jobs")
    assert json.loads(record.value or b"") == JOB


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([{"op": "remove", "path": "/nothing"}], "there is no 'nothing'"),
        ([{"op": "remove", "path": "/prompt"}], "a job needs one of"),
        ([{"op": "replace", "path": "/timeout_sec", "value": "planted"}], "timeout_sec"),
        ({"version": "1.0"}, "job_id"),
        ([{"op": "move", "path": "/a"}], "op"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_and_nothing_goes(
    settings: MeshSettings, tmp_path: Path, content: Any, match: str
) -> None:
    write(settings, [letter(json.dumps(JOB).encode())])
    with pytest.raises(CantEdit, match=match) as refused:
        DeadLetters(settings, "reasoning").redrive(edit=edit_of(tmp_path, content))
    assert "planted" not in str(refused.value)
    assert read(settings, "agent.jobs") == []
    assert len(DeadLetters(settings, "reasoning").entries()) == 1


def test_what_is_in_the_blob_store_or_avro_is_not_edited(settings: MeshSettings, tmp_path: Path) -> None:
    edit = edit_of(tmp_path, JOB)
    write(settings, [letter(b"", headers=[("ce_dataref", b"cas://sha256:00")])])
    with pytest.raises(CantEdit, match="blob store"):
        DeadLetters(settings, "reasoning").redrive(edit=edit)
    avro = letter(b"\x00", "persistence", topic="agent.results")
    write(settings, [avro])
    with pytest.raises(CantEdit, match="can't be edited"):
        DeadLetters(settings, "persistence").redrive(edit=edit)

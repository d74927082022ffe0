"""The committed contracts are true (no drift), and a change that breaks a released one is noticed."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace import contracts
from headrace.contracts import compat
from headrace.contracts.documents import documents, json_schema
from headrace.messages.catalog import MESSAGES
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.job import Job
from headrace.messages.result import AgentResult

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """A copy of the committed contracts to spoil."""
    return Path(shutil.copytree(contracts.schemas_dir(), tmp_path / "schemas"))


def test_committed_contracts_are_true_and_compatible() -> None:
    assert contracts.check() == []


def test_export_writes_what_changed_and_only_that(schemas: Path) -> None:
    assert contracts.export(schemas) == []
    spoilt = schemas / "agent.jobs" / "schema.json"
    spoilt.write_bytes(spoilt.read_bytes().replace(b"86400", b"86401"))
    assert [problem.where for problem in contracts.check(schemas)] == ["agent.jobs/schema.json"]
    assert contracts.export(schemas) == [spoilt]
    assert contracts.check(schemas) == []


def test_missing_and_stray_files_are_problems(schemas: Path) -> None:
    (schemas / "tool.calls" / "schema.json").unlink()
    (schemas / "tool.call").mkdir()
    shutil.rmtree(schemas / "ingest.events" / "released")
    places = {problem.where for problem in contracts.check(schemas)}
    assert places == {"tool.calls/schema.json", "tool.call", "ingest.events"}


def test_release_never_overwrites(schemas: Path) -> None:
    released = schemas / "agent.jobs" / "released" / "1.1.json"
    released.write_bytes(b"{}")
    assert contracts.release(schemas) == []
    assert released.read_bytes() == b"{}"


def test_released_contract_that_the_code_breaks_is_a_problem(schemas: Path) -> None:
    released = schemas / "agent.jobs" / "released" / "1.1.json"
    document = orjson.loads(released.read_bytes())
    document["properties"]["legacy"] = {"type": "string"}
    released.write_bytes(orjson.dumps(document))
    problems = contracts.check(schemas)
    assert [problem.where for problem in problems] == ["agent.jobs 1.1 /properties/legacy"]
    assert "removed or renamed" in problems[0].what


def test_documents_refer_to_nothing_outside_themselves() -> None:
    for message in MESSAGES:
        for ref in _refs(json_schema(message)):
            assert ref.startswith("#/$defs/"), ref


def test_documents_are_stable() -> None:
    assert documents() == documents()


def _refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _refs(value)]
    return [ref for item in node for ref in _refs(item)] if isinstance(node, list) else []


def _at(path: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def find(document: dict[str, Any]) -> dict[str, Any]:
        for part in path.split("/"):
            document = document[part]
        return document

    return find


def drop(path: str, name: str) -> Change:
    return lambda document: _at(path)(document).pop(name)


def put(path: str, name: str, value: Any) -> Change:
    return lambda document: _at(path)(document).update({name: value})


def rename(path: str, old: str, new: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        node = _at(path)(document)
        node[new] = node.pop(old)

    return change


def append(path: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        parent, _, name = path.rpartition("/")
        (_at(parent)(document) if parent else document)[name].append(value)

    return change


BREAKING_JSON = {
    "field removed": drop("properties", "user_id"),
    "field renamed": rename("properties", "prompt", "instruction"),
    "field retyped": put("properties/retry_count", "type", "string"),
    "field becomes required": append("required", "prompt"),
    "new field is required": append("required", "region"),
    "default changed": put("properties/timeout_sec", "default", 60),
    "default dropped": drop("properties/timeout_sec", "default"),
    "maximum lowered": put("properties/timeout_sec", "maximum", 3600),
    "minimum raised": put("properties/retry_count", "minimum", 1),
    "length bound added": put("properties/workflow_tag/anyOf", "", None),
    "pattern changed": put("properties/version", "pattern", r"^1\.[1-9]$"),
    "enum narrowed": put("$defs/Origin/properties/kind", "enum", ["webhook"]),
    "nested field removed": drop("$defs/Origin/properties", "delivery_id"),
    "nested field becomes required": append("$defs/Origin/required", "delivery_id"),
    "unknown fields forbidden": put("$defs/Event", "additionalProperties", False),
    "null no longer allowed": put("properties/user_id", "anyOf", [{"type": "string", "maxLength": 256}]),
    "item retyped": put("$defs/JobContext/properties/previous_results", "items", {"type": "string"}),
    "an alternative dropped": lambda document: document["anyOf"].pop(),
    "new keyword": put("properties/prompt", "format", "uri"),
}
BREAKING_JSON["length bound added"] = lambda document: document["properties"]["workflow_tag"]["anyOf"][0].update(
    {"maxLength": 10}
)


@pytest.mark.parametrize("change", BREAKING_JSON.values(), ids=BREAKING_JSON.keys())
def test_breaking_change_of_json_is_found(change: Change) -> None:
    old = json_schema(Job)
    new = copy.deepcopy(old)
    change(new)
    assert len(compat.compare_json("agent.jobs", old, new)) >= 1


ALLOWED_JSON = {
    "nothing": lambda document: None,
    "optional field added": put("properties", "region", {"type": "string", "default": "eu"}),
    "nested optional field added": put("$defs/Origin/properties", "source_ip", {"type": "string"}),
    "description changed": put("properties/job_id", "description", "Id of the job"),
    "maximum raised": put("properties/timeout_sec", "maximum", 172800),
    "bound dropped": drop("properties/retry_count", "minimum"),
    "enum widened": append("$defs/Origin/properties/kind/enum", "mail"),
    "required field becomes optional": lambda document: document["required"].remove("job_id"),
}


@pytest.mark.parametrize("change", ALLOWED_JSON.values(), ids=ALLOWED_JSON.keys())
def test_allowed_change_of_json_passes(change: Change) -> None:
    old = json_schema(Job)
    new = copy.deepcopy(old)
    change(new)
    assert compat.compare_json("agent.jobs", old, new) == []


def _field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


BREAKING_AVRO: dict[str, Change] = {
    "field removed": lambda schema: schema["fields"].remove(_field(schema, "run_id")),
    "field renamed": lambda schema: _field(schema, "job_id").update(name="id"),
    "field retyped": lambda schema: _field(schema, "steps").update(type="string"),
    "null no longer allowed": lambda schema: _field(schema, "run_id").update(type="string", default=""),
    "new field without default": lambda schema: schema["fields"].append({"name": "region", "type": "string"}),
    "default dropped": lambda schema: _field(schema, "tenant").pop("default"),
    "nested field retyped": lambda schema: _field(_field(schema, "metadata")["type"], "tokens_used").update(
        type="double"
    ),
    "nested field removed": lambda schema: _field(schema, "metadata")["type"]["fields"].pop(),
    "item record renamed": lambda schema: _field(schema, "turns")["type"]["items"].update(name="ModelTurn"),
    "json text becomes text": lambda schema: _field(schema, "output").update(type=["null", "string"]),
    "record renamed": lambda schema: schema.update(name="Result"),
}


@pytest.mark.parametrize("change", BREAKING_AVRO.values(), ids=BREAKING_AVRO.keys())
def test_breaking_change_of_avro_is_found(change: Change) -> None:
    old = AVRO_FORMS[AgentResult].schema
    new = copy.deepcopy(old)
    change(new)
    assert len(compat.compare_avro("agent.results", old, new)) >= 1


def test_allowed_change_of_avro_passes() -> None:
    old = AVRO_FORMS[AgentResult].schema
    new = copy.deepcopy(old)
    new["fields"].append({"name": "region", "type": ["null", "string"], "default": None})
    _field(new, "metadata")["type"]["fields"].append({"name": "retries", "type": "long", "default": 0})
    _field(new, "steps")["doc"] = "How many steps"
    assert compat.compare_avro("agent.results", old, new) == []

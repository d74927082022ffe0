"""The AsyncAPI document: complete, self-contained, and shaped as version 3.0 wants it."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import jsonschema_rs
import orjson
import pytest
import yaml

from headrace import asyncapi
from headrace.contracts import schemas_dir
from headrace.messages.catalog import BY_TOPIC
from headrace.pipeline import PIPELINE
from headrace.topology import load_all

DOCUMENT = asyncapi.document()

# The specification's own JSON Schema (https://github.com/asyncapi/spec-json-schemas, Apache-2.0), without its descriptions.
OFFICIAL = orjson.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_bytes())


def no_network(uri: str) -> Any:
    raise AssertionError(f"the schema of AsyncAPI must not refer to {uri}")


VALIDATOR = jsonschema_rs.Draft7Validator(OFFICIAL, retriever=no_network)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/"), reference
    node: Any = DOCUMENT
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def test_document_is_valid_asyncapi_3() -> None:
    assert [error.message for error in VALIDATOR.iter_errors(DOCUMENT)] == []


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no info": lambda document: document.pop("info"),
    "unknown field of a channel": lambda document: document["channels"]["agent.jobs"].update(colour="red"),
    "action of AsyncAPI 2": lambda document: document["operations"]["tools.receive.tool.calls"].update(
        action="publish"
    ),
    "no partitions": lambda document: document["channels"]["agent.jobs"]["bindings"]["kafka"].update(partitions=0),
    "broken payload schema": lambda document: document["components"]["schemas"]["Job"].update(type="thing"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_the_validator_would_notice(spoil: Callable[[dict[str, Any]], Any]) -> None:
    spoilt = copy.deepcopy(DOCUMENT)
    spoil(spoilt)
    assert not VALIDATOR.is_valid(spoilt)


def test_every_reference_resolves_within_the_document() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 30
    for reference in found:
        assert isinstance(resolve(reference), dict)
    assert not re.search(r"\$defs", orjson.dumps(DOCUMENT).decode())


def test_operation_messages_belong_to_their_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_channels_are_the_topics_and_operations_are_the_pipeline() -> None:
    assert list(DOCUMENT["channels"]) == list(load_all())
    expected = set()
    for stage in PIPELINE:
        expected |= {f"{stage.service}.send.{topic}" for topic in stage.produces}
        expected |= {f"{stage.service}.receive.{topic}" for topic in (*stage.consumes, *stage.reads)}
        expected |= {f"{stage.service}.send.{stage.service}.dlq"} if stage.consumes else set()
    assert set(DOCUMENT["operations"]) == expected


@pytest.mark.parametrize("topic", BY_TOPIC)
def test_payload_schema_judges_the_examples_as_the_contract_does(topic: str) -> None:
    name = BY_TOPIC[topic].__name__
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    payload = jsonschema_rs.Draft202012Validator(whole)
    for path in sorted((schemas_dir() / topic / "examples").glob("*.json")):
        assert payload.is_valid(orjson.loads(path.read_bytes())) == path.name.startswith("good-"), path.name


def test_avro_payload_is_the_avro_schema() -> None:
    payload = DOCUMENT["components"]["messages"]["AgentResult"]["payload"]
    assert payload["schemaFormat"].startswith("application/vnd.apache.avro")
    fastavro.parse_schema(payload["schema"])


def test_prefix_is_on_addresses_and_groups_only() -> None:
    prefixed = asyncapi.document(topic_prefix="eu.")
    assert list(prefixed["channels"]) == list(DOCUMENT["channels"])
    assert prefixed["channels"]["agent.jobs"]["address"] == "eu.agent.jobs"
    group = prefixed["operations"]["reasoning.receive.agent.jobs"]["bindings"]["kafka"]["groupId"]
    assert group["enum"] == ["eu.headrace.reasoning"]


def test_yaml_says_the_same_without_anchors() -> None:
    text = asyncapi.to_yaml(DOCUMENT)
    assert yaml.safe_load(text) == DOCUMENT
    assert not re.search(r"^\s*[\w$.-]+: [&*]", text, re.MULTILINE)

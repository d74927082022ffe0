"""Every good example is accepted, and every bad one refused, by the exported schema and by the code alike."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import orjson
import pytest

from headrace.contracts import schemas_dir
from headrace.contracts.documents import values
from headrace.messages.catalog import BY_TOPIC
from headrace.messages.codec import Codec
from headrace.messages.errors import BadMessage

EXAMPLES = sorted(schemas_dir().glob("*/examples/*.json"))
GOOD = [path for path in EXAMPLES if path.name.startswith("good-")]
BAD = [path for path in EXAMPLES if path.name.startswith("bad-")]
JSON_TOPICS = {topic for topic, message in BY_TOPIC.items() if message.FORMAT == "json"}


def no_network(uri: str) -> Any:
    raise AssertionError(f"a contract must not refer to {uri}")


def schema_of(example: Path) -> jsonschema_rs.Validator:
    document = orjson.loads((example.parent.parent / "schema.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(
        document, retriever=no_network, pattern_options=jsonschema_rs.RegexOptions(), validate_formats=True
    )


def name(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.stem}"


def read(topic: str, value: bytes) -> bool:
    """Whether the code takes ``value`` for what its topic carries."""
    for kind in values(BY_TOPIC[topic]):
        with suppress(msgspec.ValidationError):
            msgspec.json.decode(value, type=kind)
            return True
    return False


def test_all_examples_are_either_good_or_bad() -> None:
    assert sorted(GOOD + BAD) == EXAMPLES
    for topic in BY_TOPIC:
        assert sum(path.parent.parent.name == topic for path in GOOD) >= 3, topic
        assert sum(path.parent.parent.name == topic for path in BAD) >= 4, topic


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_good_example_is_accepted(path: Path) -> None:
    value = path.read_bytes()
    topic = path.parent.parent.name
    schema_of(path).validate(orjson.loads(value))
    assert read(topic, value)
    if topic in JSON_TOPICS:
        assert topic == Codec().decode(topic, None, value, {}).TOPIC


@pytest.mark.parametrize("path", BAD, ids=name)
def test_bad_example_is_refused(path: Path) -> None:
    value = path.read_bytes()
    topic = path.parent.parent.name
    assert not schema_of(path).is_valid(orjson.loads(value))
    assert not read(topic, value)
    if topic in JSON_TOPICS:
        with pytest.raises(BadMessage):
            Codec().decode(topic, None, value, {})


@pytest.mark.parametrize("path", BAD, ids=name)
def test_bad_example_is_good_but_for_its_fault(path: Path) -> None:
    """A bad example that is bad all over would prove nothing: it breaks the schema in one place."""
    errors = list(schema_of(path).iter_errors(orjson.loads(path.read_bytes())))
    assert len(errors) == 1, [error.message for error in errors]

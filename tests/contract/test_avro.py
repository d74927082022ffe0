"""The Avro form of a model, and what has none."""

from io import BytesIO
from typing import Annotated, Any, Literal, cast

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from headrace.messages import avro_binary
from headrace.messages.avro import JSON_TEXT, AvroForm
from headrace.messages.base import Message, Part
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.result import AgentResult
from tests.contract.ids import datum_of
from tests.contract.strategies import messages


class Leaf(Part, frozen=True, kw_only=True):
    """A leaf."""

    name: Annotated[str, Meta(description="What it is called")]


class Tree(Part, frozen=True, kw_only=True):
    """A tree."""

    kind: Literal["oak", "elm"] = "oak"
    height: float
    leaves: tuple[Leaf, ...] = ()
    best: Leaf | None = None
    notes: Any = None
    extra: dict[str, Any] = {}  # noqa: RUF012
    payload: Any


TREE_SCHEMA = {
    "type": "record",
    "name": "Tree",
    "namespace": "dev.headrace",
    "doc": "A tree.",
    "fields": [
        {"name": "kind", "type": "string", "default": "oak"},
        {"name": "height", "type": "double"},
        {
            "name": "leaves",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Leaf",
                    "namespace": "dev.headrace",
                    "doc": "A leaf.",
                    "fields": [{"name": "name", "type": "string", "doc": "What it is called"}],
                },
            },
            "default": [],
        },
        {"name": "best", "type": ["null", "dev.headrace.Leaf"], "default": None},
        {"name": "notes", "type": ["null", {"type": "string", JSON_TEXT: True}], "default": None},
        {"name": "extra", "type": {"type": "string", JSON_TEXT: True}, "default": "{}"},
        {"name": "payload", "type": {"type": "string", JSON_TEXT: True}},
    ],
}


def test_schema_of_every_kind_of_field() -> None:
    form = AvroForm(Tree)
    assert form.schema == TREE_SCHEMA
    fastavro.parse_schema(form.schema)


def read(form: AvroForm[Tree], data: bytes) -> dict[str, Any]:
    """The datum in ``data``, all of it, by the library."""
    buffer = BytesIO(data)
    datum = fastavro.schemaless_reader(buffer, fastavro.parse_schema(form.schema), None)
    assert buffer.read() == b""
    return cast("dict[str, Any]", datum)


def test_datum_holds_json_text_where_the_form_is_free() -> None:
    form = AvroForm(Tree)
    tree = Tree(height=1.5, leaves=(Leaf(name="a"),), best=Leaf(name="b"), notes=[1], payload=None)
    datum = read(form, form.encode(tree))
    assert datum == {
        "kind": "oak",
        "height": 1.5,
        "leaves": [{"name": "a"}],
        "best": {"name": "b"},
        "notes": "[1]",
        "extra": "{}",
        "payload": "null",
    }
    assert form.load(datum) == tree


def test_load_checks_the_model_rules() -> None:
    form = AvroForm(Tree)
    data = form.encode(Tree(height=1, payload=1))
    with pytest.raises(msgspec.ValidationError):
        form.load(read(form, data) | {"kind": "cactus"})
    with pytest.raises(ValueError, match="malformed"):
        form.load(read(form, data) | {"payload": "not json"})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(AVRO_FORMS, key=lambda model: model.__name__)).flatmap(messages))
def test_every_message_is_written_as_the_library_writes_it(message: Message) -> None:
    form, again = AVRO_FORMS[type(message)], BytesIO()
    data = form.encode(message)
    fastavro.schemaless_writer(again, fastavro.parse_schema(form.schema), datum_of(message))
    assert again.getvalue() == data


@pytest.mark.parametrize(
    "value", [0, 1, -1, 63, 64, -64, -65, 4_095, 4_096, -4_096, 2**31, -(2**31), 2**63 - 1, -(2**63)]
)
def test_a_long_is_written_as_the_library_writes_it(value: int) -> None:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, "long", value)
    assert avro_binary.long(value) == buffer.getvalue()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_long_of_more_than_64_bits_is_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        avro_binary.long(value)


@pytest.mark.parametrize("annotation", [int | str, bytes, set[str], tuple[int, str], Literal[1]])
def test_annotation_without_a_form_is_refused(annotation: Any) -> None:
    model = cast("type[Part]", msgspec.defstruct("Odd", [("field", annotation)], bases=(Part,), frozen=True))
    with pytest.raises(TypeError, match="no Avro form"):
        AvroForm(model)


def test_every_default_of_agent_result_is_the_models() -> None:
    """A reader with our schema fills what an old writer left out just as reading JSON would."""
    smallest = {"name": "AgentResult", "type": "record", "namespace": "dev.headrace"}
    required = [field for field in AVRO_FORMS[AgentResult].schema["fields"] if "default" not in field]
    assert [field["name"] for field in required] == ["job_id", "status", "completed_at"]
    writer = fastavro.parse_schema(smallest | {"fields": required})
    reader = fastavro.parse_schema(AVRO_FORMS[AgentResult].schema)
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer, {"job_id": "j", "status": "failed", "completed_at": "t"})
    datum = fastavro.schemaless_reader(BytesIO(buffer.getvalue()), writer, reader)
    assert isinstance(datum, dict)
    assert AVRO_FORMS[AgentResult].load(datum) == AgentResult(job_id="j", status="failed", completed_at="t")

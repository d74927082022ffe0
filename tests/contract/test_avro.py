"""The Avro form of a model, and what has none."""

from io import BytesIO
from typing import Annotated, Any, Literal, cast

import fastavro
import msgspec
import pytest
from msgspec import Meta

from headrace.messages.avro import JSON_TEXT, AvroForm
from headrace.messages.base import Part
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.result import AgentResult


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


def through_avro(form: AvroForm[Tree], datum: dict[str, Any]) -> dict[str, Any]:
    """``datum`` written and read."""
    schema, buffer = fastavro.parse_schema(form.schema), BytesIO()
    fastavro.schemaless_writer(buffer, schema, datum)
    buffer.seek(0)
    return cast("dict[str, Any]", fastavro.schemaless_reader(buffer, schema, None))


def test_datum_holds_json_text_where_the_form_is_free() -> None:
    form = AvroForm(Tree)
    tree = Tree(height=1.5, leaves=(Leaf(name="a"),), best=Leaf(name="b"), notes=[1], payload=None)
    datum = form.dump(tree)
    assert datum == {
        "kind": "oak",
        "height": 1.5,
        "leaves": [{"name": "a"}],
        "best": ("dev.headrace.Leaf", {"name": "b"}),
        "notes": ("string", "[1]"),
        "extra": "{}",
        "payload": "null",
    }
    assert form.load(through_avro(form, datum)) == tree


def test_load_checks_the_model_rules() -> None:
    form = AvroForm(Tree)
    datum = through_avro(form, form.dump(Tree(height=1, payload=1)))
    with pytest.raises(msgspec.ValidationError):
        form.load(datum | {"kind": "cactus"})
    with pytest.raises(ValueError, match="malformed"):
        form.load(through_avro(form, form.dump(Tree(height=1, payload=1))) | {"payload": "not json"})


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

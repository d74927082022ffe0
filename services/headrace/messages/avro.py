"""Message -> Avro schema, and messages to and from Avro datums.

Owns one mapping, applied to the model's annotations once, at import:

    str, Literal of str   string            tuple[X, ...]   array of X
    int                   long              X | None        ["null", X], default null
    float                 double            Part            record, named once, by name after that
    bool                  boolean           Any, dict       string that holds JSON, marked ``"headrace.json": true``

An annotation outside this table is an error at import, so a message can't grow a field that data platforms can't read. Strings
stand in for enumerations on purpose: an Avro reader fails on a symbol that it does not know. Knows nothing of the
wire format or of registries (``messages.codec``, ``runtime.schemas``).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from headrace.messages.base import Part, default_of

NAMESPACE: Final = "dev.headrace"
JSON_TEXT: Final = "headrace.json"
_NULL: Final = ("null", None)  # a null in a union
_PRIMITIVES: Final[dict[type, str]] = {str: "string", int: "long", float: "double", bool: "boolean"}

Schema = Any  # an Avro schema as JSON: a name, an object or a union's list
Convert = Callable[[Any], Any]
M = TypeVar("M", bound=Part)
_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class _Form:
    """How one annotation looks in Avro. ``dump`` and ``load`` are None where the value stays as it is."""

    schema: Schema
    dump: Convert | None = None
    load: Convert | None = None


@dataclass(frozen=True, slots=True)
class _RecordForm(_Form):
    """A record always has both conversions."""

    dump: Convert
    load: Convert


class AvroForm(Generic[M]):
    """The Avro form of one model: ``schema`` (JSON), and conversion between messages and datums."""

    def __init__(self, model: type[M]) -> None:
        form = _record(model, set())
        self.model = model
        self.schema: dict[str, Any] = form.schema
        self._dump = form.dump
        self._load = form.load

    def dump(self, message: M) -> dict[str, Any]:
        """The datum of ``message`` for fastavro: every field is present, free-form ones as JSON text, what may be null as
        ``(branch, value)``.
        """
        datum: dict[str, Any] = self._dump(message)
        return datum

    def load(self, datum: dict[str, Any]) -> M:
        """The message of ``datum``.

        Raises:
            msgspec.ValidationError: a rule that Avro can't express is broken (a pattern, a set of words).
            ValueError: a free-form field does not hold JSON.
        """
        return msgspec.convert(self._load(datum), self.model)


def _form(annotation: Any, seen: set[str]) -> _Form:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _form(args[0], seen)
    if annotation in _PRIMITIVES:
        return _Form(_PRIMITIVES[annotation])
    if annotation is Any or origin is dict:
        return _Form({"type": "string", JSON_TEXT: True}, _to_text, _from_json)
    if origin is Literal and all(isinstance(word, str) for word in args):
        return _Form("string")
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _array(_form(args[0], seen))
    if origin in (Union, types.UnionType) and len(args) == 2 and type(None) in args:
        return _nullable(_form(args[0] if args[1] is type(None) else args[1], seen))
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _record(annotation, seen)
    raise TypeError(f"no Avro form for {annotation!r}")


def _record(model: type[Part], seen: set[str]) -> _RecordForm:
    full_name = f"{NAMESPACE}.{model.__name__}"
    first = full_name not in seen
    seen.add(full_name)
    hints = get_type_hints(model, include_extras=True)
    forms: list[tuple[str, _Form]] = []
    fields: list[dict[str, Any]] = []
    for field in msgspec.structs.fields(model):
        form = _field_form(hints[field.name], default_of(field), seen)
        forms.append((field.name, form))
        documentation = _documentation(hints[field.name])
        fields.append({"name": field.name, "type": form.schema, **documentation, **_default(default_of(field), form)})
    schema: Schema = full_name
    if first:
        schema = {"type": "record", "name": model.__name__, "namespace": NAMESPACE, "doc": model.__doc__ or ""}
        schema["fields"] = fields
    return _RecordForm(schema, _dump_record(forms), _load_record(forms))


def _field_form(annotation: Any, default: Any, seen: set[str]) -> _Form:
    form = _form(annotation, seen)
    is_free_form = isinstance(form.schema, dict) and form.schema.get(JSON_TEXT)
    return _nullable(form) if is_free_form and default is None else form


def _documentation(annotation: Any) -> dict[str, str]:
    metas = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    texts = [meta.description for meta in metas if isinstance(meta, Meta) and meta.description]
    return {"doc": texts[0]} if texts else {}


def _default(value: Any, form: _Form) -> dict[str, Any]:
    if value is msgspec.NODEFAULT:
        return {}
    return {"default": form.dump(value) if form.dump and value is not None else value}


def _array(item: _Form) -> _Form:
    dump, load = item.dump, item.load
    return _Form(
        {"type": "array", "items": item.schema},
        (lambda values: [dump(value) for value in values]) if dump else list,
        (lambda values: [load(value) for value in values]) if load else None,
    )


def _nullable(form: _Form) -> _Form:
    dump, load = form.dump, form.load
    branch = _branch(form.schema)
    return _Form(
        ["null", form.schema],
        # The branch is named: else fastavro finds it by validating the value against each, a third of its time.
        lambda value: _NULL if value is None else (branch, dump(value) if dump else value),
        (lambda value: None if value is None else load(value)) if load else None,
    )


def _branch(schema: Schema) -> str:
    """The name by which a union knows this schema."""
    if isinstance(schema, str):
        return schema
    return f"{schema['namespace']}.{schema['name']}" if "name" in schema else str(schema["type"])


def _dump_record(forms: list[tuple[str, _Form]]) -> Convert:
    steps = [(name, form.dump) for name, form in forms]
    return lambda message: {
        name: dump(getattr(message, name)) if dump else getattr(message, name) for name, dump in steps
    }


def _load_record(forms: list[tuple[str, _Form]]) -> Convert:
    changed = [(name, form.load) for name, form in forms if form.load]

    def load(datum: dict[str, Any]) -> dict[str, Any]:
        for name, convert in changed:
            datum[name] = convert(datum[name])
        return datum

    return load


def _to_text(value: Any) -> str:
    return _to_json(value).decode()

"""Message -> Avro schema, messages to Avro's bytes, and datums to messages.

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

from headrace.messages import avro_binary
from headrace.messages.avro_binary import Write
from headrace.messages.base import Part, default_of

NAMESPACE: Final = "dev.headrace"
JSON_TEXT: Final = "headrace.json"
_PRIMITIVES: Final[dict[type, tuple[str, Write]]] = {
    str: ("string", avro_binary.string),
    int: ("long", avro_binary.long),
    float: ("double", avro_binary.double),
    bool: ("boolean", avro_binary.boolean),
}

Schema = Any  # an Avro schema as JSON: a name, an object or a union's list
Convert = Callable[[Any], Any]
M = TypeVar("M", bound=Part)
_from_json: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class _Form:
    """How one annotation looks in Avro. ``load`` is None where the value stays as it is."""

    schema: Schema
    write: Write
    load: Convert | None = None


class AvroForm(Generic[M]):
    """The Avro form of one model: ``schema`` (JSON), messages to bytes, and datums to messages."""

    def __init__(self, model: type[M]) -> None:
        form = _record(model, set())
        assert form.load is not None
        self.model = model
        self.schema: dict[str, Any] = form.schema
        self.encode: Callable[[M], bytes] = form.write
        """The binary form of a message: every field, free-form ones as JSON text.

        Raises ``UnicodeEncodeError`` or ``OverflowError`` for a value that Avro can't hold.
        """
        self._load = form.load

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
        return _Form(*_PRIMITIVES[annotation])
    if annotation is Any or origin is dict:
        return _Form({"type": "string", JSON_TEXT: True}, avro_binary.json_text, _from_json)
    if origin is Literal and all(isinstance(word, str) for word in args):
        return _Form("string", avro_binary.string)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _array(_form(args[0], seen))
    if origin in (Union, types.UnionType) and len(args) == 2 and type(None) in args:
        return _nullable(_form(args[0] if args[1] is type(None) else args[1], seen))
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _record(annotation, seen)
    raise TypeError(f"no Avro form for {annotation!r}")


def _record(model: type[Part], seen: set[str]) -> _Form:
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
    return _Form(schema, avro_binary.record([(name, form.write) for name, form in forms]), _load_record(forms))


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
    if isinstance(form.schema, dict) and form.schema.get(JSON_TEXT):
        return {"default": msgspec.json.encode(value).decode()}
    if isinstance(value, Part):
        return {"default": value.plain()}
    return {"default": list(value) if isinstance(value, tuple) else value}


def _array(item: _Form) -> _Form:
    load = item.load
    return _Form(
        {"type": "array", "items": item.schema},
        avro_binary.array(item.write),
        (lambda values: [load(value) for value in values]) if load else None,
    )


def _nullable(form: _Form) -> _Form:
    load = form.load
    return _Form(
        ["null", form.schema],
        avro_binary.nullable(form.write),
        (lambda value: None if value is None else load(value)) if load else None,
    )


def _load_record(forms: list[tuple[str, _Form]]) -> Convert:
    changed = [(name, form.load) for name, form in forms if form.load]

    def load(datum: dict[str, Any]) -> dict[str, Any]:
        for name, convert in changed:
            datum[name] = convert(datum[name])
        return datum

    return load

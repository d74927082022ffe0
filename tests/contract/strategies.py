"""Hypothesis strategies for messages, made from their annotations so that a new field is covered at once."""

import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from headrace.messages.base import Part

M = TypeVar("M", bound=Part)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LONG = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | LONG | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: LONG,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    Any: JSON,
}


def messages(model: type[M], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Instances of ``model`` in which each field may also be left at its default."""
    required, optional = {}, {}
    hints = get_type_hints(model, include_extras=True)
    for field in msgspec.structs.fields(model):
        values = fixed[field.name] if field.name in fixed else of(hints[field.name])
        (required if field.required else optional)[field.name] = values
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: model(**fields))


def of(annotation: Any) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _within(args[0], args[1:])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is dict:
        return st.dictionaries(TEXT, JSON, max_size=3)
    if origin is tuple:
        return st.lists(of(args[0]), max_size=2).map(tuple)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if arg is type(None) else of(arg) for arg in args))
    if annotation in BY_TYPE:
        return BY_TYPE[annotation]
    return messages(annotation)


def _within(annotation: Any, metas: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Values that keep to the lower bounds of numbers."""
    values = of(annotation)
    for meta in metas:
        if isinstance(meta, msgspec.Meta) and annotation is int and meta.ge is not None:
            values = st.integers(int(meta.ge), 2**63 - 1)
        if isinstance(meta, msgspec.Meta) and annotation is float and meta.gt is not None:
            values = st.floats(meta.gt, exclude_min=True, allow_nan=False, allow_infinity=False)
    return values

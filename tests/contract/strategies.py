"""Hypothesis strategies for messages, made from their annotations so that a new field is covered at once."""

import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

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
    for name, info in model.model_fields.items():
        values = fixed[name] if name in fixed else of(info.annotation)
        (required if info.is_required() else optional)[name] = values
    return st.fixed_dictionaries(required, optional=optional).map(model.model_validate)


def of(annotation: Any) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return of(args[0])
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

"""JSON Schemas of definitions and tools: compiled by one function, and what breaks them told by another, so that all of the mesh
reads them alike.

A schema is text from a definition's author. It may not fetch anything (``$ref`` to http or a file is refused, not followed) and
its ``pattern`` runs on a linear-time engine (look-around and back-references are refused).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import jsonschema_rs

_TOLD: Final = 300  # characters
_QUOTED: Final = 100
_LEFT_OUT: Final = " ... "


class InvalidSchema(ValueError):
    """Not a JSON Schema, or one that would have to fetch another document."""


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """A validator of ``schema`` (draft by its ``$schema``, else 2020-12). Use ``iter_errors(instance)`` or ``is_valid(instance)``.

    Raises:
        InvalidSchema: with the reason and, where known, the place in the schema.
    """
    try:
        validator: jsonschema_rs.Validator = jsonschema_rs.validator_for(
            schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        raise InvalidSchema(f"{error.message} (at /{place})") from None
    except (ValueError, TypeError, jsonschema_rs.ReferencingError) as error:
        raise InvalidSchema(str(error).splitlines()[0]) from None
    return validator


def violations(validator: jsonschema_rs.Validator, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
    """What breaks the schema. Of several schemas that a value may fit and does not (an optional field is such a choice, with null),
    the likeliest counts: the one whose errors lie deepest in the value.
    """
    for error in validator.iter_errors(value):
        yield from _meant(error)


def _meant(error: jsonschema_rs.ValidationError) -> Iterator[jsonschema_rs.ValidationError]:
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AnyOf() | jsonschema_rs.ValidationErrorKind.OneOfNotValid():
            for one in max(error.kind.context, key=_depth):
                yield from _meant(one)
        case _:
            yield error


def _depth(errors: Sequence[jsonschema_rs.ValidationError]) -> tuple[int, bool]:
    """Of what one schema has against a value."""
    first = errors[0]
    return len(first.instance_path), not isinstance(first.kind, jsonschema_rs.ValidationErrorKind.Type)


def told(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong, for whoever is to repair it; at most 300 characters. The library names two of the values that are allowed and
    counts the rest, and begins with the value that is not, however long it is.
    """
    if not isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Enum):
        return _cut(str(error.message), _TOLD)
    allowed = ", ".join(json.dumps(option) for option in error.kind.options)
    return _cut(f"{_cut(json.dumps(error.instance), _QUOTED)} is not one of {allowed}", _TOLD)


def pointer(path: Iterable[str | int]) -> str:
    """JSON pointer of a place; ``/`` for the whole value."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path) or "/"


def _cut(text: str, most: int) -> str:
    """Without its middle, where it is longer."""
    kept = (most - len(_LEFT_OUT)) // 2
    return text if len(text) <= most else text[:kept] + _LEFT_OUT + text[-kept:]


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"a schema must not fetch {uri[:200]!r}")

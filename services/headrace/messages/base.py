"""What all messages have in common.

A message is an immutable msgspec struct; its class says on which topic it travels, in which format, and how it is named and
keyed. Unknown fields are ignored on reading, since v1.x may add optional ones; a missing or ill-typed field is an error.

Structs rather than pydantic models, since three of them are read and three written for each step of a run: reading and checking
one costs a quarter, making one a tenth (``docs/adr/0015``). What msgspec checks, it checks on *reading*: code that makes a
message from a stranger's values goes through ``Part.checked``.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from msgspec import Meta

Format = Literal["raw", "json", "avro"]
SCHEMA_VERSION = "1.0"
Version = Annotated[str, Meta(pattern=r"^1\.[0-9]+$")]
Json = Any  # any JSON value
JsonObject = dict[str, Any]


class Part(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A piece of a message.

    It never takes part in a reference cycle, so the garbage collector need not look at it (``gc=False``). Classes below say
    ``kw_only=True``: fields are given by name, so that one without a default may follow one that has it.
    """

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in these fields. Checks nothing."""
        return msgspec.structs.replace(self, **changes)

    def plain(self, *, nulls: bool = True, defaults: bool = True) -> JsonObject:
        """The fields as plain JSON values. False leaves out what is null, or what is at its default."""
        left_out = {} if defaults else defaults_of(type(self))
        shown: JsonObject = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if (value is not None or nulls) and (name not in left_out or value != left_out[name]):
                shown[name] = _plain(value, nulls, defaults)
        return shown

    @classmethod
    def checked(cls, value: Any) -> Self:
        """From plain JSON values. Raises ``msgspec.ValidationError`` for what the contract does not allow."""
        return msgspec.convert(value, cls)


class Message(Part, frozen=True, kw_only=True):
    """A message that travels on a topic of its own."""

    TOPIC: ClassVar[str]
    TYPE: ClassVar[str]  # CloudEvents type
    FORMAT: ClassVar[Format] = "json"

    def message_id(self) -> str:
        """CloudEvents id: deterministic, so that a re-run of the same input makes the same record."""
        raise NotImplementedError

    def record_key(self) -> str | None:
        """Partition key of the record."""
        raise NotImplementedError

    def attributes(self) -> dict[str, str]:
        """Further CloudEvents attributes for the headers (lower case letters and digits only)."""
        return {}


@cache  # msgspec reads the annotations anew at each look
def defaults_of(part: type[Part]) -> dict[str, Any]:
    """The defaults of the fields that have one."""
    found = {field.name: default_of(field) for field in msgspec.structs.fields(part)}
    return {name: value for name, value in found.items() if value is not msgspec.NODEFAULT}


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """The default of a field, or ``msgspec.NODEFAULT``."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _plain(value: Any, nulls: bool, defaults: bool) -> Any:
    if isinstance(value, Part):
        return value.plain(nulls=nulls, defaults=defaults)
    if isinstance(value, tuple):
        return [_plain(item, nulls, defaults) for item in value]
    return value

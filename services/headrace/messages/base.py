"""What all messages have in common.

A message is an immutable pydantic model; its class says on which topic it travels, in which format, and how it is named and
keyed. Unknown fields are ignored on reading, since v1.x may add optional ones; a missing or ill-typed field is an error.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

Format = Literal["raw", "json", "avro"]
SCHEMA_VERSION = "1.0"


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself, since it never changes: pydantic copies every default that is a model, for each message that has it."""
        return self


class Message(Part):
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


Json = JsonValue
JsonObject = dict[str, Any]

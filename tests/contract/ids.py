"""A schema registry's ids in memory, for tests of the codec alone."""

from io import BytesIO
from typing import Any

import fastavro

from headrace.messages.base import Message
from headrace.messages.codec import AVRO_FORMS, UnknownSchema
from headrace.messages.result import AgentResult

OUR_ID = 7


class MemoryIds:
    """Knows our schema as id 7, and whatever a test adds."""

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, Any]] = {OUR_ID: AVRO_FORMS[AgentResult].schema}

    def id_for(self, subject: str) -> int:
        assert subject == "agent.results-value"
        return OUR_ID

    def schema(self, schema_id: int) -> dict[str, Any]:
        if schema_id not in self.schemas:
            raise UnknownSchema(schema_id)
        return self.schemas[schema_id]


def datum_of(message: Message) -> dict[str, Any]:
    """What fastavro reads from the message's binary form."""
    form = AVRO_FORMS[type(message)]
    buffer = BytesIO(form.encode(message))
    datum = fastavro.schemaless_reader(buffer, form.schema, None)
    assert buffer.read() == b""
    assert isinstance(datum, dict)
    return datum

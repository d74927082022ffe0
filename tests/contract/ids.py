"""A schema registry's ids in memory, for tests of the codec alone."""

from typing import Any

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

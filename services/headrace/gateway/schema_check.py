"""Inputs against an agent's input schema. Validators are compiled once per definition; a schema can't make the gateway fetch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NoReturn

import jsonschema_rs

from headrace.gateway.problems import HttpError
from headrace.messages.agent import AgentDefinition

_KEPT: Final = 256


class InputSchemas:
    """Compiled input schemas by definition hash, the least recently used dropped past a bound."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def check(self, definition: AgentDefinition, value: Any) -> None:
        """Raises ``HttpError`` 422 with the JSON pointer of the first breach, 500 for a schema that does not compile."""
        if not definition.input_schema:
            return
        error = next(iter(self._validator(definition).iter_errors(value)), None)
        if error is not None:
            where = "/input" + "".join(f"/{part}" for part in error.instance_path)
            rule = "/".join(str(part) for part in error.schema_path)
            raise HttpError(
                422, "input_schema", f"the input breaks the agent's input schema (rule {rule[:200]})", where=where
            )

    def _validator(self, definition: AgentDefinition) -> Any:
        key = definition.definition_hash
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        validator = _compile(definition.input_schema)
        self._compiled[key] = validator
        while len(self._compiled) > self._kept:
            self._compiled.popitem(last=False)
        return validator


def _compile(schema: dict[str, Any]) -> Any:
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, jsonschema_rs.ReferencingError):
        raise HttpError(500, "agent_schema", "the agent's input schema is not usable") from None


def _refuse(uri: str) -> NoReturn:
    raise ValueError("a schema may not refer to other documents")

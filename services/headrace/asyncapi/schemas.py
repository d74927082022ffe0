"""Contracts as components of one document."""

from __future__ import annotations

from typing import Any, Final

from headrace.contracts.documents import json_schema
from headrace.messages.catalog import MESSAGES

Json = dict[str, Any]

_HEADERS: Final = {
    "ce_specversion": "CloudEvents version, 1.0",
    "ce_id": "Id of the message, the same whenever the same input is worked on again",
    "ce_source": "Who made it: /headrace/<service>, /webhooks/<source>, or the producer's own",
    "ce_type": "CloudEvents type",
    "ce_time": "RFC 3339, of events",
    "ce_tenant": "Tenant",
    "ce_runid": "Run that the record belongs to",
    "ce_agent": "Name of the agent",
    "ce_causationid": "ce_id of the record that led to this one",
    "ce_correlationid": "ce_id of the first record of that chain",
    "ce_dataschema": "Contract of the value: <topic>/<major version>",
    "ce_dataref": "Where the value is, when it was too large for a record; the value is empty then",
    "traceparent": "W3C trace context",
    "tracestate": "W3C trace context, further parts",
    "content-type": "Media type of the value",
}
_DEAD_LETTER_HEADERS: Final = {
    "dlq_group": "Consumer group that could not work on the record",
    "dlq_topic": "Topic of the record",
    "dlq_partition": "Its partition",
    "dlq_offset": "Its offset",
    "dlq_cause": "Short stable code of the cause",
    "dlq_error": "What was wrong, in words",
    "dlq_where": "Place in the message, if known",
    "dlq_attempts": "How often it was tried",
    "dlq_failed_at": "RFC 3339",
    "dlq_redrives": "How often it was sent back before",
    "dlq_edited": "Its value was changed when it was sent back: digest of the edit",
    "dlq_redriven_by": "On a marker: who sent the entry back",
    "dlq_redriven": "On a marker, which has no value: the entry (partition/offset) that was sent back",
}


def components() -> dict[str, Json]:
    """All schemas by model name, with references among themselves.

    Raises:
        ValueError: two different models have one name.
    """
    found: dict[str, Json] = {
        "RecordHeaders": _headers(_HEADERS),
        "DeadLetterHeaders": _headers(_DEAD_LETTER_HEADERS),
    }
    for message in MESSAGES:
        whole = json_schema(message)
        parts = whole.pop("$defs", {})
        body = {keyword: value for keyword, value in whole.items() if keyword not in ("$schema", "$id")}
        for name, schema in (*parts.items(), (message.__name__, body)):
            lifted = _lift(schema)
            if found.setdefault(name, lifted) != lifted:
                raise ValueError(f"two schemas are named {name}")
    return dict(sorted(found.items()))


def _lift(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _lift(value)
            for key, value in node.items()
        }
    return [_lift(item) for item in node] if isinstance(node, list) else node


def _headers(texts: dict[str, str]) -> Json:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in texts.items()},
    }

"""Bodies that are a form: an object of its fields, each once."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

from headrace.ingest.normalise.content import media_type
from headrace.messages.errors import UndecodableMessage
from headrace.messages.json_check import check

_MAX_FIELDS: Final = 1_000


def is_form(content_type: str) -> bool:
    """Whether the content type says ``application/x-www-form-urlencoded``."""
    return media_type(content_type) == "application/x-www-form-urlencoded"


def decode_form(body: bytes) -> Any:
    """Fields by name; a form that is one field ``payload`` is the JSON in it, as Slack sends what people click on.

    Raises:
        UndecodableMessage: not UTF-8, a field twice, more than 1,000 fields, or a ``payload`` that is not JSON.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise UndecodableMessage(f"not a form: {type(error).__name__}", cause="form", where="/") from None
    fields = dict(pairs)
    if not fields or len(fields) < len(pairs):
        raise UndecodableMessage("no field, or a field twice", cause="form", where="/")
    return check(fields["payload"].encode()) if fields.keys() == {"payload"} else fields

"""Data of an event by its content type: JSON as JSON, text as text, anything else as base64."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from headrace.messages.json_check import check


def media_type(content_type: str) -> str:
    """``application/json`` of ``Application/JSON; charset=utf-8``."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """JSON by name; no content type at all counts as JSON, as the CloudEvents specification has it."""
    media = media_type(content_type)
    return media in ("", "application/json", "text/json") or media.endswith("+json")


def decode_data(data: bytes, content_type: str) -> Any:
    """JSON value for ``Event.data``: ``{"data_base64": ...}`` holds bytes that are neither JSON nor UTF-8 text.

    Raises:
        UndecodableMessage: the content type promises JSON and the bytes are not.
    """
    if is_json(content_type):
        return check(data)
    if media_type(content_type).startswith("text/") or media_type(content_type) in ("application/xml",):
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return {"data_base64": b64encode(data).decode()}

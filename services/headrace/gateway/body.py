"""Reading a request's body: whole or not at all, and never more than the bound.

What is returned is decompressed, and a signature is checked over that: senders sign the body that they mean, and what compresses it
on the way (a library, a proxy) knows no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from headrace.gateway.decoding import decoded, too_large
from headrace.gateway.problems import HttpError, bad_request
from headrace.messages.errors import UndecodableMessage
from headrace.messages.json_check import check


def header_map(scope: Scope) -> dict[str, str]:
    """Lower-case names to values; a repeated header is joined, so that no reader picks the one it likes."""
    result: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        result[name] = f"{result[name]}, {value}" if name in result else value
    return result


async def read_body(request: Request, headers: Mapping[str, str], limit: int) -> bytes:
    """The body, at most ``limit`` bytes on the wire and as many decompressed. ``headers`` are the request's, by ``header_map``.

    Raises:
        HttpError: 413 past the limit, by Content-Length or while it streams in, or for a compression bomb; 415 for a content
            encoding that is not read; 400 where Content-Length is no number or not what arrived, or for broken compressed data.
    """
    decoder = decoded(headers.get("content-encoding", ""), limit)
    declared = _declared_length(headers)
    if declared is not None and declared > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk if decoder is None else decoder.feed(chunk))
        more = message.get("more_body", False)
    if declared is not None and declared != size:
        raise HttpError(400, "content_length", "the body is not as long as Content-Length says")
    if decoder is not None:
        decoder.end()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _declared_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None or "transfer-encoding" in headers:  # RFC 9112 6.3: the transfer encoding decides
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise HttpError(400, "content_length", "Content-Length is not a number")
    return int(text)


def media_type(content_type: str) -> str:
    """``type/subtype`` in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    media = media_type(content_type)
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


def parse_json(body: bytes) -> Any:
    """The JSON value of ``body``. Raises ``HttpError`` 400 that says where it breaks."""
    try:
        return check(body)
    except UndecodableMessage as error:
        raise bad_request(error) from None

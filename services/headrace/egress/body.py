"""A response body, decompressed and bounded while it streams: a bomb is refused at the bound, not after it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

from headrace.egress.errors import EgressFailed

ACCEPT_ENCODING = "gzip, deflate"
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


async def read_bounded(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """All of ``chunks`` decoded from ``encoding`` (Content-Encoding). Raises ``EgressFailed`` past ``limit`` bytes."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return await _plain(chunks, limit)
    if name in _ENCODINGS:
        return await _inflated(chunks, limit)
    raise EgressFailed("bad_response", "the response has a content encoding that was not asked for")


async def _plain(chunks: AsyncIterable[bytes], limit: int) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


async def _inflated(chunks: AsyncIterable[bytes], limit: int) -> bytes:
    body = bytearray()
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    started = False
    async for chunk in chunks:
        started = started or bool(chunk)
        body += _inflate(decoder, chunk, limit - len(body) + 1)
        if len(body) > limit:
            raise too_large(limit)
    if started and not decoder.eof:
        raise EgressFailed("bad_response", "the compressed response ends early")
    return bytes(body)


def _inflate(decoder: zlib._Decompress, chunk: bytes, most: int) -> bytes:
    try:
        data = decoder.decompress(chunk, most)
    except zlib.error:
        raise EgressFailed("bad_response", "the response could not be decompressed") from None
    if decoder.unused_data:
        raise EgressFailed("bad_response", "the compressed response has more after its end")
    return data


def too_large(limit: int) -> EgressFailed:
    return EgressFailed("response_too_large", f"the response is larger than {limit} bytes")

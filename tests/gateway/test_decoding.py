"""Compressed bodies: whole and bounded, or refused and no record."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import brotli
import httpx2
import orjson
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway import decoding
from headrace.gateway.problems import HttpError
from tests.gateway.support import Gateway, error_of, github_headers

BODY = orjson.dumps({"ref": "refs/heads/main", "text": "é" * 2000, "noise": os.urandom(30_000).hex()})
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress,
    "GZIP": gzip.compress,
}
each = pytest.mark.parametrize("coding", CODINGS)


async def post(gateway: Gateway, sent: bytes, coding: str, body: bytes = BODY, step: int = 0) -> httpx2.Response:
    """``body`` is what is signed, ``sent`` what goes out; with ``step`` chunked, in pieces of so many bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), step):
            yield sent[start : start + step]

    headers = github_headers(body, **{"content-encoding": coding})
    return await gateway.post("/webhooks/github", pieces() if step else sent, headers)


@each
@pytest.mark.parametrize("step", [0, 1000])
async def test_the_record_is_the_body_that_was_signed(coding: str, step: int) -> None:
    gateway = Gateway()
    assert (await post(gateway, CODINGS[coding](BODY), coding, step=step)).status_code == 202
    [send] = gateway.publisher.sends
    assert send.message.body == BODY


@each
async def test_a_signature_of_the_compressed_bytes_is_not_one(coding: str) -> None:
    gateway = Gateway()
    sent = CODINGS[coding](BODY)
    assert (await post(gateway, sent, coding, body=sent)).status_code == 401


@each
async def test_past_the_limit_when_decompressed(coding: str) -> None:
    gateway = Gateway(gateway_max_body_bytes=len(BODY) - 1)
    answer = await post(gateway, CODINGS[coding](BODY), coding)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"
    assert (await post(Gateway(gateway_max_body_bytes=len(BODY)), CODINGS[coding](BODY), coding)).status_code == 202
    assert gateway.publisher.sends == []


@each
async def test_a_bomb_is_refused_by_its_ratio(coding: str) -> None:
    gateway = Gateway()
    bomb = CODINGS[coding](b'"' + b"x" * 20_000_000 + b'"')
    answer = await post(gateway, bomb, coding)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "compression_ratio")
    assert gateway.publisher.sends == []


@each
async def test_broken_data_is_400_and_no_record(coding: str) -> None:
    gateway = Gateway()
    whole = CODINGS[coding](BODY)
    for sent in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"planted", whole + whole, BODY, b"\0" * 40):
        answer = await post(gateway, sent, coding)
        assert (answer.status_code, error_of(answer)["code"]) == (400, "content_encoding"), len(sent)
    assert gateway.publisher.sends == []


async def test_a_zstd_window_past_what_http_allows_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    sent = compressor.compress(BODY) + compressor.flush()
    assert (await post(Gateway(), sent, "zstd")).status_code == 400


def test_no_step_makes_more_than_its_bound() -> None:
    data = b"x" * 3_000_000
    for compressed, coding in (
        (zlib.compress(data, wbits=31), "gzip"),
        (brotli.compress(data), "br"),
        (zstd.compress(data), "zstd"),
    ):
        pieces = list(decoding._DECODERS[coding]().decode(compressed))
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= 2 * decoding.STEP


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["gzip", "br", "zstd"]), st.lists(st.binary(max_size=200), max_size=5), st.integers(0, 40))
def test_no_bytes_do_anything_but_decode_or_be_refused(coding: str, parts: list[bytes], kept: int) -> None:
    decoder = decoding.decoded(coding, 10_000)
    assert decoder is not None
    with suppress(HttpError):
        for part in (CODINGS[coding](b"some body")[:kept], *parts):
            decoder.feed(part)
        decoder.end()

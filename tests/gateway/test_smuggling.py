"""Requests that two servers could read in two ways, over a raw socket: refused, alone and with all that follows them."""

from __future__ import annotations

import orjson
import pytest

from tests.gateway.support import Gateway, github_headers, served
from tests.gateway.test_server import BODY, exchange

LENGTH = b"content-length: %d" % len(BODY)
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
UPGRADES = {
    "h2c": (b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__"),
    "websocket": (
        b"connection: upgrade",
        b"upgrade: websocket",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: AA==",
    ),
    "of nothing known": (b"connection: upgrade", b"upgrade: foo/2, bar"),
    "of several": (b"connection: keep-alive, upgrade", b"upgrade: h2c", b"upgrade: websocket"),
}
NEXT = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def request(*lines: bytes, body: bytes = BODY, eol: bytes = b"\r\n", version: bytes = b"1.1") -> bytes:
    """A delivery that would be accepted, but for ``lines`` in its head and how its body is sent."""
    signed = [f"{name}: {value}".encode() for name, value in github_headers(BODY).items()]
    return eol.join([b"POST /webhooks/github HTTP/" + version, b"host: x", *signed, *lines, b"", b""]) + body


def chunked(body: bytes) -> bytes:
    return request(CHUNKED, body=body)


CORPUS = {
    "CL, then TE": request(LENGTH, CHUNKED, body=CHUNKS),
    "TE, then CL": request(CHUNKED, LENGTH, body=CHUNKS),
    "CL twice": request(LENGTH, b"content-length: 5"),
    "CL twice, the same": request(LENGTH, LENGTH),
    "CL as a list": request(LENGTH + b", %d" % len(BODY)),
    "CL with a sign": request(b"content-length: +14"),
    "CL, space before the colon": request(b"content-length : 14"),
    "TE identity": request(LENGTH, b"transfer-encoding: identity"),
    "TE unknown": request(b"transfer-encoding: xchunked", body=CHUNKS),
    "TE gzip, chunked": request(b"transfer-encoding: gzip, chunked", body=CHUNKS),
    "TE chunked, identity": request(b"transfer-encoding: chunked, identity", body=CHUNKS),
    "TE twice": request(CHUNKED, b"transfer-encoding: identity", body=CHUNKS),
    "TE chunked twice": request(CHUNKED, CHUNKED, body=CHUNKS),
    "TE, space before the colon": request(b"transfer-encoding : chunked", body=CHUNKS),
    "TE, vertical tab": request(b"transfer-encoding: \x0bchunked", body=CHUNKS),
    "TE in HTTP/1.0": request(CHUNKED, body=CHUNKS, version=b"1.0"),
    "folded line": request(LENGTH, b"x-a: b\r\n c"),
    "folded TE": request(LENGTH, b"transfer-encoding:\r\n chunked", body=CHUNKS),
    "line that begins with a space": request(LENGTH, b" x-a: b"),
    "bare LF": request(LENGTH, eol=b"\n"),
    "bare LF in a forwarded header": request(LENGTH, b"x-github-hook-id: 1\nx-planted: 2"),
    "bare CR in a forwarded header": request(LENGTH, b"x-github-hook-id: 1\rx-planted: 2"),
    "NUL in a value": request(LENGTH, b"x-a: b\0c"),
    "NUL in a name": request(LENGTH, b"x\0a: b"),
    "NUL in the path": b"POST /webhooks/git\0hub HTTP/1.1\r\nhost: x\r\n\r\n",
    "no colon": request(LENGTH, b"x-a"),
    "empty name": request(LENGTH, b": b"),
    "chunk with a bare LF in its extension": chunked(b"e;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size 0x": chunked(b"0xe\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size below 0": chunked(b"-e\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size past 64 bits": chunked(b"f" * 17 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk with bare LF": chunked(CHUNKS.replace(b"\r\n", b"\n")),
    "chunk longer than it says": chunked(b"e\r\n" + BODY + b"XX0\r\n\r\n"),
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nhost: x\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nhost: x\r\n\r\n",
}
TOO_MUCH = {
    "a long value": (431, request(LENGTH, b"x-a: " + b"a" * 70_000)),
    "many headers": (431, request(LENGTH, *[b"x-%d: a" % number for number in range(300)])),
    "a value that never ends": (431, request(LENGTH, body=b"")[:-2] + b"x-a: " + b"a" * 2_000_000),
    "a long URL": (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"),
}


async def answers(gateway: Gateway, sent: bytes) -> bytes:
    async with served(gateway) as server:
        return await exchange(server.port, sent)


def refusal_of(answer: bytes) -> tuple[int, str]:
    """Status and code of the only answer."""
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head[9:12]), orjson.loads(body)["error"]["code"]


async def test_the_corpus_would_be_accepted_but_for_what_is_wrong_with_it() -> None:
    for sent in (request(LENGTH, b"connection: close"), request(CHUNKED, b"connection: close", body=CHUNKS)):
        gateway = Gateway()
        assert (await answers(gateway, sent)).startswith(b"HTTP/1.1 202 ")
        assert len(gateway.publisher.sends) == 1


@pytest.mark.parametrize("name", CORPUS)
async def test_an_ambiguous_request_is_refused_with_all_that_follows(name: str) -> None:
    gateway = Gateway()
    assert refusal_of(await answers(gateway, CORPUS[name] + NEXT)) == (400, "malformed_request")
    assert gateway.publisher.sends == []


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_a_head_past_its_bounds(name: str) -> None:
    status, sent = TOO_MUCH[name]
    gateway = Gateway()
    answer = await answers(gateway, sent + NEXT)
    assert answer == b"" or refusal_of(answer)[0] == status  # empty: the connection was reset while it was still sent
    assert gateway.publisher.sends == []


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("smuggled", [NEXT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x81\x05Hello"])
async def test_an_upgrade_is_not_made_and_smuggles_nothing(name: str, smuggled: bytes) -> None:
    """It is answered in the protocol that it came in, and nothing after it is read: no proxy has seen that as a request."""
    head = b"\r\n".join([NEXT.rstrip(), *UPGRADES[name], b"", b""])
    answer = await answers(Gateway(), head + smuggled)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("sent", [(LENGTH, BODY), (CHUNKED, CHUNKS)], ids=["length", "chunked"])
async def test_an_upgrade_with_a_body_is_refused(name: str, sent: tuple[bytes, bytes]) -> None:
    gateway = Gateway()
    answer = await answers(gateway, request(sent[0], *UPGRADES[name], body=sent[1]) + NEXT)
    assert refusal_of(answer) == (400, "upgrade")
    assert gateway.publisher.sends == []


async def test_an_upgrade_that_the_connection_header_does_not_name_is_a_header_as_any_other() -> None:
    gateway, last = Gateway(), NEXT.replace(b"host: x", b"host: x\r\nconnection: close")
    answer = await answers(gateway, request(LENGTH, b"upgrade: h2c") + last)
    assert [answer.count(b"HTTP/1.1 %d " % status) for status in (202, 200)] == [1, 1]


async def test_nobody_is_connected_to_anything() -> None:
    answer = await answers(Gateway(), b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n" + NEXT)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer[9:12] in (b"400", b"404", b"405")


async def test_nothing_is_answered_after_an_error_of_the_application_that_closes() -> None:
    gateway = Gateway(gateway_max_body_bytes=5)
    assert refusal_of(await answers(gateway, request(LENGTH) + NEXT))[0] == 413


async def test_encoded_line_ends_in_a_path_are_no_line_ends() -> None:
    sent = b"POST /webhooks/a%0d%0ax-planted:%20b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    answer = await answers(Gateway(), sent)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"planted" not in answer

"""The server on real sockets: what a transport does to a body, taking and giving back the port."""

from __future__ import annotations

import asyncio
import socket

import httpx2
import pytest

from headrace.gateway.server import GatewayServer, listen
from headrace.messages.errors import FatalError
from tests.gateway.support import Gateway, github_headers, served

BODY = b'{"ref":"main"}'


async def exchange(port: int, *parts: bytes, eof: bool = False) -> bytes:
    """Everything that the server says to these bytes on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if eof:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def head(body: bytes, **more: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in (github_headers(body) | more).items()]
    return "\r\n".join(["POST /webhooks/github HTTP/1.1", "host: x", *lines, "", ""]).encode()


async def test_deliveries_on_one_connection() -> None:
    gateway = Gateway()
    async with served(gateway) as server, httpx2.AsyncClient(base_url=server.url) as client:
        for _ in range(3):
            response = await client.post("/webhooks/github", content=BODY, headers=github_headers(BODY))
            assert response.status_code == 202
        assert server.ready()
        assert server.status()["connections"] == 1
    assert not server.ready()
    assert len(gateway.publisher.sends) == 3


async def test_a_chunked_body_over_the_limit_is_refused_and_never_cut() -> None:
    gateway = Gateway(gateway_max_body_bytes=1000)
    chunk = b"64\r\n" + b"x" * 100 + b"\r\n"
    async with served(gateway) as server:
        answer = await exchange(server.port, head(BODY, **{"transfer-encoding": "chunked"}), chunk * 11)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert gateway.publisher.sends == []


async def test_a_chunked_body_that_stops_short_leaves_no_record() -> None:
    gateway = Gateway()
    async with served(gateway) as server:
        chunked = head(BODY, **{"transfer-encoding": "chunked"})
        answer = await exchange(server.port, chunked, b"e\r\n" + BODY + b"\r\n", eof=True)
    assert b"202" not in answer
    assert gateway.publisher.sends == []


async def test_a_body_shorter_than_its_content_length_leaves_no_record() -> None:
    gateway = Gateway()
    async with served(gateway) as server:
        answer = await exchange(server.port, head(BODY, **{"content-length": "15"}), BODY, eof=True)
    assert b"202" not in answer
    assert gateway.publisher.sends == []


async def test_bytes_past_the_content_length_are_no_part_of_the_body() -> None:
    gateway = Gateway()
    whole = BODY + b"planted"
    async with served(gateway) as server:
        answer = await exchange(server.port, head(whole, **{"content-length": str(len(BODY))}), whole, eof=True)
    assert answer[:13] in (b"HTTP/1.1 401 ", b"HTTP/1.1 400 ")  # 400: the rest was no request
    assert gateway.publisher.sends == []


@pytest.mark.parametrize("length", ["-1", "1e3", "+14", "14, 15", "0x0e"])
async def test_a_content_length_that_is_no_number_is_400(length: str) -> None:
    gateway = Gateway()
    async with served(gateway) as server:
        answer = await exchange(server.port, head(BODY, **{"content-length": length}), BODY, eof=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert gateway.publisher.sends == []


async def test_a_huge_declared_body_is_refused_before_it_is_sent() -> None:
    gateway = Gateway()
    async with served(gateway) as server:
        answer = await exchange(server.port, head(BODY, **{"content-length": str(10**12)}))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_port_in_use_is_named() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    server = GatewayServer(Gateway().app, Gateway(gateway_port=port).settings)
    with pytest.raises(FatalError, match=f"port {port} on 127.0.0.1 is in use.*HEADRACE_GATEWAY_PORT"):
        await server.start()
    taken.close()
    assert not server.ready()


async def test_a_stopped_server_gives_its_port_back() -> None:
    first = Gateway()
    async with served(first) as server:
        port = server.port
    async with served(Gateway(gateway_port=port)) as again:
        assert again.port == port


async def test_an_address_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(FatalError, match=r"192\.0\.2\.1:0.*HEADRACE_GATEWAY_HOST"):
        listen("192.0.2.1", 0, 1)


async def test_wait_ends_with_the_server() -> None:
    gateway = Gateway()
    async with served(gateway) as server:
        waiting = asyncio.create_task(server.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        await server.stop()
        await waiting


def test_the_socket_names_its_protocol() -> None:
    listener = listen("127.0.0.1", 0, 1)
    assert listener.proto == socket.IPPROTO_TCP
    listener.close()

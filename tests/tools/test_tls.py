"""TLS is verified against the name while the connection goes to the checked address."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from headrace.egress import EgressDenied, EgressFailed, EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from tests.tools.servers import CERTS, Internet, Names, Server, always, serving

OK = always(200, b"{}")


def client(server: Server, host: str, *, ca_file: Path | None = CERTS / "ca.pem") -> GuardedClient:
    """A client that may reach the local server under ``host``, which resolves to 127.0.0.1."""
    policy = EgressPolicy(timeout_s=30, private=PrivateTargets.parse([f"{host}:{server.port}"]))
    return GuardedClient(policy, ca_file=ca_file, resolver=Names(**{host.replace(".", "_"): [["127.0.0.1"]]}))


async def test_the_name_of_the_certificate_is_accepted() -> None:
    async with serving(OK, tls=True) as server, client(server, "api.example.test") as guarded:
        answer = await guarded.request("GET", f"https://api.example.test:{server.port}/", domains=["api.example.test"])
        assert answer.status == 200
        assert server.requests[0].headers["host"] == f"api.example.test:{server.port}"


async def test_another_name_at_the_same_address_is_refused() -> None:
    async with serving(OK, tls=True) as server, client(server, "www.example.test") as guarded:
        with pytest.raises(EgressFailed) as caught:
            await guarded.request("GET", f"https://www.example.test:{server.port}/", domains=["*.example.test"])
        assert (caught.value.kind, caught.value.retryable) == ("tls", False)
        assert server.requests == []


async def test_an_authority_that_is_not_trusted_is_refused() -> None:
    async with serving(OK, tls=True) as server, client(server, "api.example.test", ca_file=None) as guarded:
        with pytest.raises(EgressFailed) as caught:
            await guarded.request("GET", f"https://api.example.test:{server.port}/", domains=["*.example.test"])
        assert caught.value.kind == "tls"


async def test_the_address_is_refused_before_any_handshake() -> None:
    async with serving(OK, tls=True) as server:
        names = Names(api_example_test=[["127.0.0.1"]])
        async with GuardedClient(EgressPolicy(timeout_s=30), ca_file=CERTS / "ca.pem", resolver=names) as guarded:
            with pytest.raises(EgressDenied):
                await guarded.request("GET", "https://api.example.test/", domains=["api.example.test"])
        assert server.connections == 0


async def test_no_downgrade_by_redirect() -> None:
    moved = always(302, b"", [("location", "http://api.example.test/")])
    async with serving(moved, tls=True) as server:
        names = Names(api_example_test=[["93.184.216.34"]])
        guarded = GuardedClient(
            EgressPolicy(timeout_s=30), ca_file=CERTS / "ca.pem", resolver=names, dial=Internet(server)
        )
        async with guarded:
            with pytest.raises(EgressDenied) as caught:
                await guarded.request("GET", "https://api.example.test/", domains=["api.example.test"])
        assert caught.value.reason == "redirect"


async def test_a_handshake_that_never_ends_leaves_no_socket_open() -> None:
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4_096):
            pass
        hung_up.set()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    server = Server(port=listener.sockets[0].getsockname()[1])
    gc.disable()  # what the collector would close was not closed
    try:
        async with client(server, "api.example.test") as guarded:
            with pytest.raises(EgressFailed) as caught:
                await guarded.request(
                    "GET", f"https://api.example.test:{server.port}/", domains=["api.example.test"], timeout_s=0.2
                )
            assert caught.value.kind == "timeout"
            await asyncio.wait_for(hung_up.wait(), 5)
    finally:
        gc.enable()
        listener.close()
        await listener.wait_closed()

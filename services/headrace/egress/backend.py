"""Dialling: resolve once, check every address, dial what was checked.

This is the one place where a host becomes a connection, so a name that resolves to a private address, also only the
second time (DNS rebinding), gets no further. The HTTP layer above verifies TLS against the *name* while the socket
goes to the address.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import httpcore2

from headrace.egress.addresses import Address, parse_address
from headrace.egress.errors import EgressDenied, EgressFailed, shown
from headrace.egress.policy import EgressPolicy
from headrace.egress.stream import ClosingStream

_MAX_DIALLED = 3  # addresses of one name that are tried in turn


class Resolver(Protocol):
    """Addresses of a host name, in order of preference. Raises ``OSError`` where there are none."""

    async def __call__(self, host: str, port: int) -> Sequence[str]: ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """The operating system's resolver, off the event loop."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """TCP connections to checked addresses only; ``dial`` is what opens the socket once an address has passed."""

    def __init__(
        self,
        policy: EgressPolicy,
        resolver: Resolver = system_resolver,
        dial: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._dial = dial or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the interface of the base class
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._checked_addresses(host, port)
        failure: Exception | None = None
        for address in addresses[:_MAX_DIALLED]:
            try:
                stream = await self._dial.connect_tcp(str(address), port, timeout, local_address, socket_options)
                return ClosingStream(stream)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or EgressFailed("dns", f"host {shown(host)} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise EgressDenied("scheme", "Unix sockets are not allowed")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked_addresses(self, host: str, port: int) -> list[Address]:
        """Every address of ``host``; one that is not allowed refuses them all, since the next answer might put it
        first.
        """
        literal = parse_address(host)
        addresses = [literal] if literal else [_address(text, host) for text in await self._resolve(host, port)]
        for address in addresses:
            if not self._policy.allows_address(address, host, port):
                raise EgressDenied("private_address", f"host {shown(host)} is not on the public internet")
        return addresses

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._resolver(host, port)
        except (OSError, UnicodeError):
            raise EgressFailed("dns", f"host {shown(host)} could not be resolved") from None


def _address(text: str, host: str) -> Address:
    address = parse_address(text)
    if address is None:  # such as a link-local address with its scope
        raise EgressDenied("private_address", f"host {shown(host)} is not on the public internet")
    return address

"""Connections for thousands of calls in flight: many small pools behind one transport.

The HTTP library's pool looks at each of its connections whenever a request starts or ends: with 1,000 in flight that is ten
milliseconds of CPU a call, with 2,000 the process stands still. Small pools bound that work. A request takes the first pool
with room, so that under light load the same few connections are used again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx2

POOL_SIZE: Final = 32
_KEEPALIVE_S: Final = 30.0


class ShardedTransport(httpx2.AsyncBaseTransport):
    """Up to ``max_connections`` (rounded up to whole pools); a request past that waits for a connection.

    Pools are made when first needed and share one TLS context. ``proxy`` is a proxy URL or None.
    """

    def __init__(self, max_connections: int, *, proxy: str | None = None) -> None:
        self._most = -(-max_connections // POOL_SIZE)
        self._size = min(POOL_SIZE, max_connections)
        self._proxy = proxy
        self._tls = httpx2.create_ssl_context()
        self._pools: list[httpx2.AsyncHTTPTransport] = []
        self._in_flight: list[int] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        index = self._choose()
        self._in_flight[index] += 1
        try:
            response = await self._pools[index].handle_async_request(request)
        except BaseException:
            self._in_flight[index] -= 1
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Leased(response.stream, lambda: self._release(index))
        return response

    async def aclose(self) -> None:
        await asyncio.gather(*(pool.aclose() for pool in self._pools))

    def _choose(self) -> int:
        for index, in_flight in enumerate(self._in_flight):
            if in_flight < self._size:
                return index
        if len(self._pools) < self._most:
            limits = httpx2.Limits(
                max_connections=self._size, max_keepalive_connections=self._size, keepalive_expiry=_KEEPALIVE_S
            )
            self._pools.append(httpx2.AsyncHTTPTransport(verify=self._tls, limits=limits, proxy=self._proxy))
            self._in_flight.append(0)
            return len(self._pools) - 1
        return min(range(self._most), key=self._in_flight.__getitem__)

    def _release(self, index: int) -> None:
        self._in_flight[index] -= 1


class _Leased(httpx2.AsyncByteStream):
    """A response body that gives its place in the pool back when it is closed."""

    def __init__(self, body: httpx2.AsyncByteStream, release: Callable[[], None]) -> None:
        self._body = body
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            release, self._release = self._release, None
            if release is not None:
                release()


def environment_proxy(url: httpx2.URL) -> str | None:
    """The proxy that HTTP(S)_PROXY, ALL_PROXY and NO_PROXY name for ``url``."""
    proxies = getproxies()
    if proxy_bypass(f"{url.host}:{url.port}" if url.port else url.host):
        return None
    return proxies.get(url.scheme) or proxies.get("all")

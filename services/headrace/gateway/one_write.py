"""One write for each answer: uvicorn writes its head and its body apart, and each write is a system call, a packet, and a read at
the other end. Here what is written within one turn of the event loop leaves together, at its end.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from headrace.gateway.strict_http import StrictHttp

_MAX_HELD: Final = 65_536  # bytes: past them nothing waits, so that the transport's own bound on what is unsent holds


class OneWrite(StrictHttp):
    """uvicorn's protocol, strict, over a transport that gathers writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]


class _Gathering:
    """The part of ``asyncio.Transport`` that uvicorn uses."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MAX_HELD:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held:
            self._transport.writelines(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

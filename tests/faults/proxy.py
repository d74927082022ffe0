"""A TCP proxy before each broker, which delays, cuts, and takes away answers.

It reads Kafka's framing (size, then api key, version and correlation id) only as far as it must to tell the answers to one kind
of request from the others. One thread serves all proxies; the settings may be changed while it runs.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
END_TXN = 26  # api key


@dataclass
class Proxy:
    """``delay_s`` holds up every answer, ``end_txn_delay_s`` those to EndTxn; ``lose_end_txn`` of them never come."""

    port: int = 0
    target: int = 0
    delay_s: float = 0.0
    end_txn_delay_s: float = 0.0
    lose_end_txn: int = 0
    refuse: bool = False
    lost: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._client, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def cut(self) -> None:
        """Close every connection; clients may come back at once unless ``refuse``."""
        for writer in list(self.writers):
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(OSError):
            if not self.refuse:
                await self._joined(reader, writer)
        self.writers.discard(writer)
        writer.close()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side goes."""
        upstream, to_upstream = await asyncio.open_connection(HOST, self.target)
        special: set[int] = set()  # correlation ids of EndTxn requests
        ways = [
            asyncio.create_task(self._requests(reader, to_upstream, special)),
            asyncio.create_task(self._answers(upstream, writer, special)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_upstream.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, special: set[int]) -> None:
        while True:
            frame = await _frame(reader)
            api, _, correlation = struct.unpack_from(">hhi", frame, 4)
            if api == END_TXN:
                special.add(correlation)
            writer.write(frame)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, special: set[int]) -> None:
        while True:
            frame = await _frame(reader)
            (correlation,) = struct.unpack_from(">i", frame, 4)
            delay = self.delay_s
            if correlation in special:
                special.discard(correlation)
                if self.lose_end_txn > 0:
                    self.lose_end_txn -= 1
                    self.lost += 1
                    continue
                delay += self.end_txn_delay_s
            if delay:
                await asyncio.sleep(delay)
            writer.write(frame)
            await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])


class Proxies:
    """``Proxy`` by broker number, served from a thread of their own."""

    def __init__(self, brokers: int) -> None:
        self.by_node = {node: Proxy() for node in range(1, brokers + 1)}
        self._listening = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxies", daemon=True)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        servers = [await proxy.listen() for proxy in self.by_node.values()]
        self._listening.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for proxy in self.by_node.values():
            proxy.cut()
        await asyncio.sleep(0.1)  # their tasks end

    def start(self) -> dict[int, str]:
        """Addresses to advertise. Targets are set later: a broker's port is drawn after its address is known."""
        self._thread.start()
        assert self._listening.wait(10), "the proxies do not listen"
        return {node: f"{HOST}:{proxy.port}" for node, proxy in self.by_node.items()}

    def cut(self, node: int) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.by_node[node].cut)

    def heal(self) -> None:
        for proxy in self.by_node.values():
            proxy.delay_s = proxy.end_txn_delay_s = 0.0
            proxy.lose_end_txn, proxy.refuse = 0, False

    def close(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

"""Many small pools behind one transport: the bound holds, and no place in a pool is lost."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from headrace.models.pool import POOL_SIZE, ShardedTransport, environment_proxy
from headrace.simulator.server import Simulator
from tests.support.simulator import script

HEADERS = {"authorization": "Bearer x"}


async def post(client: httpx2.AsyncClient, url: str, text: str) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    try:
        return (await client.post(f"{url}/v1/chat/completions", json=body, headers=HEADERS)).text
    except httpx2.HTTPError as error:
        return type(error).__name__


@pytest.mark.parametrize(("most", "pools"), [(3, 1), (POOL_SIZE, 1), (POOL_SIZE * 2, 2)])
async def test_more_requests_than_connections(simulator: Simulator, most: int, pools: int) -> None:
    simulator.play(script({"match": {"last_user": "cut"}, "reply": {"fault": "cut"}}, latency_ms=20))
    transport = ShardedTransport(most)
    async with httpx2.AsyncClient(transport=transport) as client:
        texts = ["cut" if n % 5 == 0 else f"n{n}" for n in range(POOL_SIZE * 3)]
        answers = await asyncio.gather(*(post(client, simulator.url, text) for text in texts))
        for text, answer in zip(texts, answers, strict=True):
            assert answer == "RemoteProtocolError" if text == "cut" else f"echo: {text}" in answer
        assert transport._in_flight == [0] * pools


async def test_cancelled_requests_give_their_place_back(simulator: Simulator) -> None:
    simulator.play(script({"reply": {"fault": "hang"}}))
    transport = ShardedTransport(4)
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.gather(*(post(client, simulator.url, "x") for _ in range(8)))
        assert transport._in_flight == [0]
        simulator.play(script())
        assert "echo" in await post(client, simulator.url, "again")


def test_environment_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    url = httpx2.URL("https://models.example.org/v1")
    assert environment_proxy(url) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,internal.example.org")
    assert environment_proxy(url) == "http://127.0.0.1:3128"
    assert environment_proxy(httpx2.URL("https://internal.example.org")) is None
    assert environment_proxy(httpx2.URL("http://127.0.0.1:9000/v1")) is None

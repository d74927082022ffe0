"""The other end of the agents' tool: ``GET`` anything gives four rows of JSON after ``--latency-ms``."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import orjson
import uvicorn

ROWS = orjson.dumps(
    [{"airline": name, "price": price} for name, price in zip("ABCD", (410, 120, 99, 310), strict=True)]
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ROWS)).encode())]


def app(latency_s: float) -> Any:
    async def answer(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await asyncio.sleep(latency_s)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": ROWS})

    return answer


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--latency-ms", type=float, default=0)
    options = arguments.parse_args()
    uvicorn.run(app(options.latency_ms / 1000), port=options.port, log_level="warning", lifespan="off", backlog=4096)

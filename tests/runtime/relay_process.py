"""A relay worker as a process of its own, to be killed: ``python -m tests.runtime.relay_process``, settings in the environment.

Prints ``ready`` once it owns partitions. ``RELAY_DELAY_MS`` is how long each record takes at most.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal

from headrace.observe import logging as logs
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from tests.runtime.relay import STAGE, NoBlobs, Relay


async def main() -> None:
    delay = float(os.environ.get("RELAY_DELAY_MS", "20")) / 1000
    worker = Worker(STAGE, Relay(lambda _job: random.random() * delay), MeshSettings(), NoBlobs())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.start()
    while not worker.ready():
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(worker.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    if waits[1].done():
        waits[1].result()


if __name__ == "__main__":
    logs.configure("warning")
    asyncio.run(main())

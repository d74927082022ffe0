"""Writes a golden file of what this code writes."""

import asyncio
import sys

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.ids import content_ref
from tests.replay.golden import HERE, lives, stored


class Remembering(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.all: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        self.all[content_ref(data)] = data
        return await super().put(data)


def main(name: str) -> None:
    path, blobs = HERE / f"{name}.json", Remembering()
    if path.exists():
        sys.exit(f"{path} is there already: a golden file is never written again")
    found = asyncio.run(lives(blobs))
    path.write_text(stored(found, blobs.all))


main(sys.argv[1])

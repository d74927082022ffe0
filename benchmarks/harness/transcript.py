"""What a conversation leaves behind: stored bytes against what was said in it, and its greatest record, as it gets longer.

Counted is everything (values, keys and headers of all records, and all blobs) of a run of the real reasoning processor with a
scripted model, as the test of the same name holds it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.reasoning.test_stored_bytes import LARGE, Shape, blob_bytes, run

# 8 KB a turn (100 of them are 200,000 tokens), 3 KB and 0.6 KB.
SHAPES = {
    "8 KB a turn": LARGE["texts"],
    "8 KB a turn, half of it arguments": LARGE["half and half"],
    "8 KB a turn, four parallel calls": LARGE["four parallel calls"],
    "3 KB a turn": Shape(1_000, 200, 1_800),
    "0.6 KB a turn": Shape(200, 100, 300),
}
LENGTHS = (10, 25, 50, 100, 200)


def measure() -> list[dict[str, Any]]:
    return [asyncio.run(_one(name, replace(shape, turns=turns))) for name, shape in SHAPES.items() for turns in LENGTHS]


async def _one(name: str, shape: Shape) -> dict[str, Any]:
    ledger, blobs, unique = await run(shape)
    stored = ledger.total + blob_bytes(blobs)
    return {
        "shape": name,
        "turns": shape.turns,
        "unique_bytes": unique,
        "stored_bytes": stored,
        "ratio": stored / unique,
        "greatest_record_bytes": max(size for _, size in ledger.sizes),
    }

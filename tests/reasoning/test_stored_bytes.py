"""History is stored once: what a long run leaves in Kafka and in the blob store, against its unique content.

Counted is everything: values, keys and headers of all records on agent.jobs, tool.calls, tool.results and
agent.results, and all blobs.
Unique content is what was said: the prompt, the model's texts and arguments, the tools' results, the answer.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import Limits
from headrace.messages.base import Message
from headrace.messages.codec import Codec, Encoded
from headrace.messages.headers import decode
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolOutcome, ToolResults
from headrace.tools import outcome
from headrace.tools.settings import ToolsSettings
from tests.reasoning.bench import Bench, ScriptedModel, answered, calls_reply, context, definition, job, text_reply

KB = 1_000


class OneSchema:
    """Schema ids for the codec; only the size of what is encoded matters here."""

    def id_for(self, subject: str) -> int:
        return 1

    def schema(self, schema_id: int) -> dict[str, Any]:
        raise AssertionError("nothing is read back here")


@dataclass
class Ledger:
    """Every record that was written."""

    codec: Codec = field(default_factory=lambda: Codec(OneSchema()))
    sizes: list[tuple[str, int]] = field(default_factory=list)
    cause: dict[str, str] = field(
        default_factory=lambda: {"ce_id": "job-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    )

    def write(self, message: Message, service: str) -> None:
        record: Encoded = self.codec.encode(message, service=service, cause_headers=self.cause)
        headers = sum(len(name) + len(value) for name, value in record.headers)
        self.sizes.append((record.topic, len(record.value) + len(record.key or b"") + headers))
        self.cause = decode(record.headers)

    @property
    def total(self) -> int:
        return sum(size for _, size in self.sizes)


@dataclass(frozen=True)
class Shape:
    """A run: bytes of text, arguments and tool result in each turn."""

    text: int
    arguments: int
    result: int
    turns: int = 100
    calls: int = 1
    tools_inline: int = ToolsSettings(_env_file=None).inline_bytes


async def run(shape: Shape) -> tuple[Ledger, MemoryBlobs, int]:
    """Ledger, blobs, and the bytes of unique content."""
    rng = random.Random(7)

    def words(size: int) -> str:
        return "".join(rng.choices(string.ascii_letters + "     ", k=size))

    turns = [
        calls_reply(*({"q": words(shape.arguments)} for _ in range(shape.calls)), text=words(shape.text))
        for _ in range(shape.turns - 1)
    ]
    final = text_reply(words(max(shape.text, 40)))
    limits = Limits(max_steps=1_000, max_tokens=10**9, max_cost_usd=1_000)
    blobs = MemoryBlobs()
    bench = Bench(ScriptedModel(*turns, final), definition(limits=limits), blobs=blobs)
    ledger, first = Ledger(), job(prompt=words(shape.text))
    ledger.write(first, "gateway")
    unique = shape.text * (shape.turns + 1) + shape.arguments * shape.calls * (shape.turns - 1)
    (message,) = await bench.start(first)
    while isinstance(message, ToolCalls):
        ledger.write(message, "reasoning")
        results = await tools(message, [words(shape.result) for _ in message.calls], blobs, shape.tools_inline)
        unique += shape.result * len(message.calls)
        ledger.write(results, "tools")
        message = await bench.resume(results)
    assert isinstance(message, AgentResult)
    assert message.status == "completed"
    assert message.steps == shape.turns
    ledger.write(message, "reasoning")
    return ledger, blobs, unique


async def tools(calls: ToolCalls, contents: list[str], blobs: MemoryBlobs, inline_bytes: int) -> ToolResults:
    """Outcomes as the tools service writes them."""
    outcomes: list[ToolOutcome] = [
        await outcome.succeeded(call, call.tool_version, content, 7, blobs, inline_bytes)
        for call, content in zip(calls.calls, contents, strict=True)
    ]
    return answered(calls, None, results=tuple(outcomes))


def blob_bytes(blobs: MemoryBlobs) -> int:
    return sum(map(len, blobs._blobs.values()))


def report(name: str, shape: Shape, ledger: Ledger, blobs: MemoryBlobs, unique: int) -> float:
    stored = ledger.total + blob_bytes(blobs)
    ratio = stored / unique
    largest = max(size for _, size in ledger.sizes)
    print(
        f"\n{name}: {shape.turns} turns, unique {unique:,} B, stored {stored:,} B "
        f"(records {ledger.total:,}, blobs {blob_bytes(blobs):,}) = {ratio:.2f}x, largest record {largest:,} B"
    )
    return ratio


# 200,000 tokens are about 800 KB: 8 KB a turn, two thirds of it tool results.
LARGE = {
    "texts": Shape(text=2_700, arguments=100, result=5_300),
    "arguments": Shape(text=0, arguments=2_700, result=5_300),
    "half and half": Shape(text=1_350, arguments=1_350, result=5_300),
    "four parallel calls": Shape(text=700, arguments=500, result=1_330, calls=4, tools_inline=1_024),
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_hundred_turns_of_200k_tokens_are_stored_within_twice_their_content(name: str) -> None:
    ledger, blobs, unique = await run(LARGE[name])
    assert unique >= 780 * KB
    assert report(name, LARGE[name], ledger, blobs, unique) <= 2.0


@pytest.mark.parametrize("shape", [Shape(200, 100, 300), Shape(1_000, 200, 1_800)], ids=["small", "middling"])
async def test_small_turns_cost_their_envelope_and_no_more_as_the_run_goes_on(shape: Shape) -> None:
    ledger, blobs, unique = await run(shape)
    report("small turns", shape, ledger, blobs, unique)
    half, half_blobs, _ = await run(Shape(shape.text, shape.arguments, shape.result, turns=50))
    assert ledger.total + blob_bytes(blobs) < 2.2 * (half.total + blob_bytes(half_blobs)), "linear in turns"


async def test_no_record_grows_with_the_run() -> None:
    short, _, _ = await run(Shape(2_700, 100, 5_300, turns=12))
    long, _, _ = await run(Shape(2_700, 100, 5_300, turns=150))
    assert largest(long, "tool.calls") <= largest(short, "tool.calls") + 200  # more digits, no more entries
    assert largest(long, "tool.results") <= largest(short, "tool.results") + 200
    assert largest(long, "agent.results") < 64 * KB
    assert max(size for _, size in long.sizes) < 64 * KB


def largest(ledger: Ledger, topic: str) -> int:
    return max(size for name, size in ledger.sizes if name == topic)


def test_the_ledger_counts_what_the_codec_writes() -> None:
    ledger, message = Ledger(), job(prompt="p" * 1_000)
    ledger.write(message, "gateway")
    assert ledger.total > len(msgspec.json.encode(message))
    assert context().source.topic == "agent.jobs"

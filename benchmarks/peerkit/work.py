"""The work that every system does, and what it is told: standard library only, since it runs in each peer's own environment.

One invocation is about 1 KB of JSON: a model call (wait, asks for the tool), a tool call (wait), a model call (wait, answers), and
a result that is stored durably. The answer follows from the invocation, so that a reader of the result can tell if it is right.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

KEYS = 1_000
VARIABLE = "HEADRACE_BENCH_SPEC"
_FILLER = "lorem ipsum dolor sit amet "
Json = dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """One run, the same for its worker and its client."""

    run: str  # unique; the prefix of its topics, queues and ids
    mode: str
    count: int  # invocations on the clock
    warm: int = 200  # invocations before the clock starts
    per_second: float = 0.0  # 0: as fast as they can be submitted
    model_s: float = 0.0
    tool_s: float = 0.0
    in_flight: int = 200
    payload_bytes: int = 900
    partitions: int = 6
    patience_s: float = 60.0  # the client gives up this long after the start
    linger_s: float = 0.0  # how long the client looks for doubled results after the last one
    calls: str = ""  # file that notes each model call, if any
    report: str = ""  # file into which the client writes what it saw
    servers: dict[str, str] = field(default_factory=dict)  # addresses by name

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def given(cls) -> Spec:
        """What the harness handed to this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def id(self, number: int) -> str:
        """Id of an invocation; those before the clock have negative numbers."""
        return f"{self.run}-{number}"

    def number(self, invocation_id: str) -> int:
        return int(invocation_id.removeprefix(f"{self.run}-"))

    def invocation(self, number: int) -> Json:
        return {"id": self.id(number), "key": f"k{number % KEYS}", "input": self.text(number)}

    def text(self, number: int) -> str:
        """``payload_bytes`` of text that begins with the invocation's id."""
        begin = f"{self.id(number)} "
        filler = _FILLER * (self.payload_bytes // len(_FILLER) + 1)
        return (begin + filler)[: self.payload_bytes]

    def is_right(self, result: Json, number: int) -> bool:
        invocation = self.invocation(number)
        return bool(result["answer"] == answer(invocation, look_up(ask(invocation))))


def ask(invocation: Json) -> Json:
    """The first model call's reply: the tool call that it asks for."""
    return {"tool": "lookup", "args": {"q": invocation["input"][:64], "k": invocation["key"]}}


def look_up(call: Json) -> Json:
    return {"rows": call["args"]["q"] * 2}


def answer(invocation: Json, rows: Json) -> str:
    """The second model call's reply."""
    return f"{invocation['key']}: {rows['rows'] * 2}"


def result(invocation: Json, text: str) -> Json:
    return {"id": invocation["id"], "key": invocation["key"], "answer": text}


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class CallLog:
    """A line for each model call that starts (``s``) and each that finishes (``f``); it outlives a kill -9 of the writer."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None

    def note(self, what: str, invocation_id: str, turn: int) -> None:
        if self._file is not None:
            os.write(self._file, f"{what} {invocation_id} {turn} {time.time():.3f}\n".encode())

    @contextmanager
    def call(self, invocation_id: str, turn: int) -> Iterator[None]:
        self.note("s", invocation_id, turn)
        yield
        self.note("f", invocation_id, turn)


class Steps:
    """The three steps for asyncio; ``Blocking`` has them for threads."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._log = CallLog(spec.calls)

    async def model1(self, invocation: Json) -> Json:
        with self._log.call(invocation["id"], 1):
            await self._wait(self._spec.model_s)
            return ask(invocation)

    async def tool(self, call: Json) -> Json:
        await self._wait(self._spec.tool_s)
        return look_up(call)

    async def model2(self, invocation: Json, rows: Json) -> Json:
        """The result."""
        with self._log.call(invocation["id"], 2):
            await self._wait(self._spec.model_s)
            return result(invocation, answer(invocation, rows))

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)


class Blocking:
    """The three steps for systems whose handlers are plain functions."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._log = CallLog(spec.calls)

    def model1(self, invocation: Json) -> Json:
        with self._log.call(invocation["id"], 1):
            self._wait(self._spec.model_s)
            return ask(invocation)

    def tool(self, call: Json) -> Json:
        self._wait(self._spec.tool_s)
        return look_up(call)

    def model2(self, invocation: Json, rows: Json) -> Json:
        """The result."""
        with self._log.call(invocation["id"], 2):
            self._wait(self._spec.model_s)
            return result(invocation, answer(invocation, rows))

    def _wait(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds)


def ready() -> None:
    """Tells the harness that this process may be used. Past ``sys.stdout``, which some frameworks take for themselves."""
    os.write(1, b"READY\n")

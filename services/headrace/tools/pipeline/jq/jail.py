"""One confined jq process, as seen from the event loop."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from headrace.messages.errors import FatalError
from headrace.tools.pipeline.jq import child
from headrace.tools.pipeline.rows import StepError, bad_argument


@dataclass(frozen=True, slots=True)
class JqLimits:
    """Of one program: ``wall_s`` and ``cpu_s`` seconds, ``memory_bytes`` of address space, ``output_bytes`` of JSON."""

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_bytes: int = 512 * 2**20
    output_bytes: int = 10_000_000


class JailBroken(Exception):
    """The process is gone or was ended; another one has to take its place. ``reason`` is for the model."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Jail:
    """A process that runs one program at a time. After ``JailBroken``, or a cancelled ``run``, it is of no more use:
    ``kill`` it.
    """

    def __init__(self, process: asyncio.subprocess.Process, limits: JqLimits) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout
        self._limits = limits
        self.programs = 0

    @classmethod
    async def start(cls, limits: JqLimits) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # no PYTHON* variables, no user site, nothing from the working directory
            "-S",  # no site-packages
            "-B",
            str(Path(child.__file__)),
            _extension(),
            str(limits.memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,  # Ctrl-C in a terminal is for the service, which then closes its pool
        )
        return cls(process, limits)

    async def run(self, program: str, document: bytes) -> bytes:
        """The JSON list of what ``program`` gives. Raises ``StepError`` for the program's own failure, ``JailBroken``
        for an overrun.
        """
        self.programs += 1
        try:
            async with asyncio.timeout(self._limits.wall_s):
                await self._send(program.encode("utf-8", "replace"), document)
                status, length = child.ANSWER.unpack(await self._out.readexactly(child.ANSWER.size))
                if length > self._limits.output_bytes + 2:
                    raise JailBroken("gave more than it may")
                text = await self._out.readexactly(length)
        except TimeoutError:
            raise JailBroken(f"took longer than {self._limits.wall_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise JailBroken(
                f"took more than {self._limits.cpu_s} s of CPU time or {self._limits.memory_bytes // 2**20} MB of memory"
            ) from None
        return self._judged(status, text)

    async def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        self._in.close()
        await self._process.wait()

    async def _send(self, program: bytes, document: bytes) -> None:
        limits = self._limits
        self._in.write(child.REQUEST.pack(len(program), len(document), limits.cpu_s, limits.output_bytes))
        self._in.write(program)
        self._in.write(document)
        await self._in.drain()

    def _judged(self, status: int, text: bytes) -> bytes:
        if status == child.DONE:
            return text
        if status == child.TOO_LARGE:
            limit = self._limits.output_bytes
            raise StepError(f"the program gives more than {limit} bytes: select less", type_="too_large")
        if status == child.OUT_OF_MEMORY:
            raise JailBroken(f"took more than {self._limits.memory_bytes // 2**20} MB of memory")
        raise bad_argument(f"the program failed: {text.decode('utf-8', 'replace')}")


def _extension() -> str:
    """The file of the jq extension, which is never loaded into this process."""
    spec = find_spec("jq")
    if spec is None or spec.origin is None:
        raise FatalError("the package jq is not installed")
    return spec.origin

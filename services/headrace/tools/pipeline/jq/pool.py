"""Warm jq processes: as many at once as there are slots, each used again until it breaks or has run long enough."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import orjson

from headrace.messages.base import Json
from headrace.tools.pipeline.jq.jail import Jail, JailBroken, JqLimits
from headrace.tools.pipeline.rows import Rows, StepError

_MAX_PROGRAMS: Final = 500  # of one process: jq keeps what it compiled


class JqPool:
    """Runs jq programs. Processes are started when they are first needed. Close it, or use it as a context manager."""

    def __init__(self, limits: JqLimits | None = None, *, size: int = 2) -> None:
        self._limits = limits or JqLimits()
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Jail] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def rows(self, program: str, data: Json) -> Rows:
        """``data``, a JSON value, through ``program``. One list is the rows; otherwise each value that the program gives is one.

        Raises ``StepError``: ``invalid_arguments`` for a program that is wrong or fails on the data, ``too_large``, ``limit``.
        """
        given = orjson.loads(await self._run(program, orjson.dumps(data)))
        items = given[0] if len(given) == 1 and isinstance(given[0], list) else given
        return [item if isinstance(item, dict) else {"value": item} for item in items]

    async def close(self) -> None:
        """End the idle processes; to be called when no program runs any more."""
        while self._idle:
            await self._idle.pop().kill()

    async def _run(self, program: str, document: bytes) -> bytes:
        async with self._slots:
            jail = self._idle.pop() if self._idle else await Jail.start(self._limits)
            whole = False
            try:
                answer = await jail.run(program, document)
                whole = True
            except StepError:
                whole = True
                raise
            except JailBroken as broken:
                raise StepError(f"the program {broken.reason}", type_="limit") from None
            finally:
                if whole and jail.programs < _MAX_PROGRAMS:
                    self._idle.append(jail)
                else:
                    await asyncio.shield(jail.kill())
            return answer

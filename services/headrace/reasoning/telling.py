"""Telling what a model writes, while it writes: pieces of one turn, gathered for a moment, as ``run.tokens`` records.

A run's outcome never depends on it: what is told may get lost, and telling neither waits nor fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headrace.messages.run import RunInfo
from headrace.messages.tokens import RunTokens

GATHER_S: Final = 0.1  # a record for each token would cost more than the token
Tell = Callable[[RunTokens], None]


class Telling:
    """One model turn. It is the request's ``on_text``; ``close`` when the turn is over."""

    def __init__(self, tell: Tell, run: RunInfo, step: int, *, gather_s: float = GATHER_S) -> None:
        self._tell = tell
        self._run = run
        self._step = step
        self._gather_s = gather_s
        self._at = 0
        self._pieces: list[str] = []
        self._length = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, position: int, text: str) -> None:
        if position != self._at + self._length:  # the turn was begun anew
            self.close()
            self._at = position
        self._pieces.append(text)
        self._length += len(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._gather_s, self.close)

    def close(self) -> None:
        """Tell what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            text = "".join(self._pieces).encode("utf-8", "replace").decode()  # no record can hold a lone surrogate
            run = self._run
            self._tell(
                RunTokens(
                    tenant=run.tenant, run_id=run.run_id, agent=run.agent.name, step=self._step, at=self._at, text=text
                )
            )
        self._at += self._length
        self._pieces, self._length = [], 0

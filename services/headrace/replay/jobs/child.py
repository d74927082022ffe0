"""A job in a process of its own: what it costs and counts is its own, and its end is the process's.

The child reads its orders (JSON, one line) on stdin, and stops when that ends: it never outlives who started it, even if that is
killed. It drains then, gives its lease back and is gone.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any, Final

import msgspec
from pydantic import SecretStr

from headrace.settings import MeshSettings

_SPARE_S: Final = 5.0  # past the time to drain, before it is killed


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to do: lead the work on the replay in the name of ``holder``, or (None) help whoever does."""

    settings: dict[str, Any]
    replay_id: str
    holder: str | None
    lease_s: float

    def mesh(self) -> MeshSettings:
        return MeshSettings(_env_file=None, **self.settings)


class Child:
    """One child process."""

    def __init__(self, process: asyncio.subprocess.Process, drain_s: float) -> None:
        self._process = process
        self._drain_s = drain_s

    @classmethod
    async def start(cls, settings: MeshSettings, replay_id: str, holder: str | None, lease_s: float) -> Child:
        """A helper's ``settings`` need an ``instance`` that nobody else at work on the replay has."""
        orders = Orders(settings=_plain(settings), replay_id=replay_id, holder=holder, lease_s=lease_s)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.replay.jobs"), stdin=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        with suppress(ConnectionError):
            await process.stdin.drain()
        return cls(process, settings.drain_seconds)

    async def wait(self) -> int:
        """Its exit code."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Let it drain; kill it where that takes too long. Its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return await asyncio.wait_for(self._process.wait(), self._drain_s + _SPARE_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            return await self._process.wait()


def _plain(settings: MeshSettings) -> dict[str, Any]:
    """As JSON, secrets too: it goes to the child's stdin and nowhere else."""
    fields = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in fields.items()
        if value is not None
    } | {"blob_dir": str(settings.blob_dir)}

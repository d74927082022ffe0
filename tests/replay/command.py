"""The command line inside the test's own process: a start of Python costs more than most commands do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
import structlog

from headrace.cli.app import run


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


class CommandLine:
    """`await cli("runs", "list")`; each call fails unless it exits with ``expect``."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *arguments: str, expect: int = 0) -> Done:
        configured = structlog.get_config()
        self._capsys.readouterr()
        try:
            code = await asyncio.to_thread(run, arguments)
        finally:
            structlog.configure(**configured)
        out, err = self._capsys.readouterr()
        assert code == expect, f"{arguments}: {code}\n{out}\n{err}"
        return Done(code, out, err)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)

"""``run``: a command in this process, for what does not depend on being one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import structlog

from headrace.cli.app import run as run_command
from headrace.local.endpoints import VARIABLES


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which is one JSON document and nothing else."""
        return orjson.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """``run("runs", "list", data=folder)``"""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    logs, level = structlog.get_config(), logging.getLogger("librdkafka").level

    def call(*arguments: str, data: Path | str = "/nonexistent/headrace") -> Done:
        monkeypatch.setenv("HEADRACE_DATA", str(data))
        capfd.readouterr()
        code = run_command(arguments)
        return Done(code, *capfd.readouterr())

    yield call
    structlog.configure(**logs)
    logging.getLogger("librdkafka").setLevel(level)

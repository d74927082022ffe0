"""jq programs in their jail: what they give against plain Python, and what a hostile one gets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.tools.pipeline.jq.jail import JqLimits
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.pipeline.jq.program import jq_transform
from headrace.tools.pipeline.rows import StepError
from tests.tools.helpers import steady

LIMITS = JqLimits(wall_s=20, cpu_s=1, memory_bytes=128 * 2**20, output_bytes=50_000)
ROWS = st.lists(st.fixed_dictionaries({"a": st.integers(-5, 5), "b": st.text('xyé"\\\n', max_size=3)}), max_size=6)


@pytest.fixture
async def pool() -> AsyncIterator[JqPool]:
    async with JqPool(LIMITS, size=1) as pool:
        yield pool


async def refused(pool: JqPool, program: str, data: Any = None) -> StepError:
    with pytest.raises(StepError) as caught:
        await pool.rows(program, data)
    return caught.value


@settings(steady, max_examples=25)
@given(ROWS)
def test_programs_against_python(rows: list[dict[str, Any]]) -> None:
    expected = {
        ".": rows,
        "map(select(.a > 0))": [row for row in rows if row["a"] > 0],
        "map({b, twice: (.a * 2)})": [{"b": row["b"], "twice": row["a"] * 2} for row in rows],
        "sort_by(.a)": sorted(rows, key=lambda row: row["a"]),
        "length": [{"value": len(rows)}],
        ".[] | {b}": [{"b": row["b"]} for row in rows],
    }

    async def run() -> dict[str, Any]:
        async with JqPool(LIMITS, size=1) as pool:
            return {program: await pool.rows(program, rows) for program in expected}

    assert asyncio.run(run()) == expected


@pytest.mark.parametrize(
    ("program", "rows"),
    [
        (".items[] | select(.price < 100)", [{"price": 99}]),
        ("[.items[].price]", [{"value": 99}, {"value": 410}]),
        (".items[0]", [{"price": 99}]),
        ("empty", []),
        ("[]", []),
        ("1, [2]", [{"value": 1}, {"value": [2]}]),
        ("env", [{}]),
        ("$ENV", [{}]),
        ("halt_error", []),
    ],
)
async def test_what_is_a_row(pool: JqPool, program: str, rows: list[Any]) -> None:
    assert await pool.rows(program, {"items": [{"price": 99}, {"price": 410}]}) == rows


@pytest.mark.parametrize("program", [".[", "nosuch", 'error("stop")', ".a", "input", "\ud800"])
async def test_a_program_that_fails_is_told_why_and_the_process_lives(pool: JqPool, program: str) -> None:
    assert (await refused(pool, program, [1])).type == "invalid_arguments"
    (jail,) = pool._idle
    assert await pool.rows("1", None) == [{"value": 1}]
    assert pool._idle == [jail]


@pytest.mark.parametrize(
    ("program", "type_"),
    [
        ("def f: f; f", "limit"),
        ("[range(1e12)] | length", "limit"),
        ('reduce range(100) as $i ("x"; . + .) | length', "limit"),
        ("repeat(1)", "too_large"),
        ('"x" * 60000', "too_large"),
    ],
)
async def test_a_program_that_overruns_is_ended_and_the_next_one_works(pool: JqPool, program: str, type_: str) -> None:
    assert (await refused(pool, program)).type == type_
    assert await pool.rows("1", None) == [{"value": 1}]


async def test_a_program_that_sleeps_is_ended_by_the_clock() -> None:
    async with JqPool(JqLimits(wall_s=0.2, cpu_s=60), size=1) as pool:
        assert (await refused(pool, "last(range(1e15))")).type == "limit"
        assert pool._idle == []


async def test_nothing_can_be_opened(pool: JqPool, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('"s3cret"')
    program = f'import "secret" as $found {{search: "{tmp_path}"}}; $found'
    failure = await refused(pool, program)
    assert failure.type == "invalid_arguments"
    assert "s3cret" not in str(failure)
    await pool.rows("1", None)
    assert _limits_of(pool) == {"Max open files": "3", "Max file size": "0", "Max core file size": "0"}


def _limits_of(pool: JqPool) -> dict[str, str]:
    process = pool._idle[0]._process
    lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    wanted = ("Max open files", "Max file size", "Max core file size")
    return {name: line.removeprefix(name).split()[1] for line in lines for name in wanted if line.startswith(name)}


async def test_the_environment_and_arguments_hold_nothing(pool: JqPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_AUTH_SECRET", "s3cret")
    await pool.rows(".", {"canary": "s3cret"})
    pid = pool._idle[0]._process.pid
    shown = _files_of(pid, "environ", "cmdline")
    assert b"python" in shown
    assert b"s3cret" not in shown
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def _files_of(pid: int, *names: str) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in names)


async def test_a_process_that_was_killed_is_replaced(pool: JqPool) -> None:
    await pool.rows("1", None)
    os.kill(pool._idle[0]._process.pid, signal.SIGKILL)
    await pool._idle[0]._process.wait()
    assert (await refused(pool, "1")).type == "limit"
    assert await pool.rows("1", None) == [{"value": 1}]


async def test_a_call_that_is_given_up_takes_its_process_along(pool: JqPool) -> None:
    await pool.rows("1", None)
    process = pool._idle[0]._process
    task = asyncio.create_task(pool.rows("last(range(1e15))", None))
    while pool._idle:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert process.returncode == -signal.SIGKILL
    assert await pool.rows("1", None) == [{"value": 1}]


def test_a_query_is_bounded() -> None:
    with pytest.raises(StepError, match="4000 characters"):
        jq_transform({"query": "." * 4_001})

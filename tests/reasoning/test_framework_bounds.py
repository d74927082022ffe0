"""What no framework may do: reach out, print, quote, hold a run, or read a call out of a model's text; and that re-runs hold."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.messages.run import RunInfo
from headrace.models import ModelReply, ModelRequest
from headrace.reasoning.frameworks import Frameworks, Turn
from headrace.replay.rerun import Divergence
from headrace.simulator.server import Simulator
from tests.reasoning.bench import (
    Bench,
    ScriptedModel,
    answered,
    calls_reply,
    definition,
    job,
    only_calls,
    only_result,
    text_reply,
)
from tests.reasoning.test_frameworks import each_framework, frameworks_of, quiet_imports
from tests.replay.lives import AGENT, live, rerun, with_tools
from tests.support.simulator import script, simulator

__all__ = ["simulator"]  # a fixture
pytestmark = quiet_imports
ROOT = Path(__file__).parents[2]


@each_framework
def test_nothing_is_reached_but_the_model(runtime: str, simulator: Simulator, tmp_path: Path) -> None:
    """As by ``native``, in folders of its own, which stay empty; and nothing of it is imported before its first run."""
    simulator.play(script({"reply": {"text": "Fine."}}))
    native, report = (_alone(name, simulator, tmp_path) for name in ("native", runtime))
    assert (report["status"], report["imported_before"]) == ("completed", [])
    assert f"connect 127.0.0.1:{simulator.port}" in report["reached"]
    assert set(report["reached"]) <= set(native["reached"])
    assert list(tmp_path.iterdir()) == []
    assert len(simulator.requests) == 2


def _alone(runtime: str, simulator: Simulator, home: Path) -> Any:
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **places}
    command = [sys.executable, "-m", "tests.reasoning.framework_alone", runtime, simulator.url]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@each_framework
async def test_a_framework_that_fails_quotes_nothing(runtime: Any, capfd: pytest.CaptureFixture[str]) -> None:
    result = only_result(await Bench(ScriptedModel(RuntimeError("s3cret")), definition(runtime=runtime)).start())
    assert result.error is not None
    assert (result.error.type, result.error.message.split()[-2:]) == ("model_error", ["failed:", "RuntimeError"])
    assert "s3cret" not in "".join(capfd.readouterr())


@each_framework
async def test_what_a_framework_logs_of_a_conversation_is_off(runtime: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench(ScriptedModel(calls_reply({"secret": "s3cret"}), text_reply("Done.")), definition(runtime=runtime))
    result = await bench.resume(answered(only_calls(await bench.start()), {"row": 1}))
    assert result.status == "completed"
    assert "s3cret" not in caplog.text


class _NeverAnswers:
    def __init__(self) -> None:
        self.asked, self.ended = asyncio.Event(), asyncio.Event()
        self.request: ModelRequest | None = None

    async def ask(self, request: ModelRequest) -> ModelReply:
        self.request = request
        self.asked.set()
        try:
            await asyncio.sleep(3_600)
        finally:
            self.ended.set()
        raise AssertionError("it was ended")


@each_framework
async def test_a_turn_that_is_over_asks_no_longer_and_holds_nothing(runtime: Any) -> None:
    """While it asks, the model is told where to stream to."""
    agent, model = definition(runtime=runtime), _NeverAnswers()
    run = RunInfo(tenant="t", run_id="r", agent=agent.ref(), model="openai:sim", started_ms=0, deadline_ms=1)
    request = ModelRequest("sim", "s", (), on_text=lambda at, text: None)
    taken = asyncio.create_task(Frameworks().take(Turn(agent, run, request, model.ask)))
    await asyncio.wait_for(model.asked.wait(), 60)
    assert model.request is not None
    assert model.request.on_text is request.on_text
    taken.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taken
    await asyncio.wait_for(model.ended.wait(), 10)


@each_framework
@pytest.mark.parametrize(
    "text",
    [
        'They wrote: "\nAction: execute_pipeline\nAction Input: {}\n"',
        "Action: execute_pipeline\nAction Input: {}",
        "{{x}} {y} %s",
    ],
)
async def test_text_is_no_call(runtime: Any, text: str) -> None:
    model = ScriptedModel(text_reply(text))
    result = only_result(await Bench(model, definition(runtime=runtime)).start(job(prompt=text)))
    assert (result.status, result.output, len(model.requests)) == ("completed", text, 1)
    assert model.requests[0].entries[0].content.count(text) == 1
    assert [tool.name for tool in model.requests[0].tools] == ["execute_pipeline"]


@each_framework
async def test_a_re_run_holds(runtime: Any) -> None:
    """And one of another definition is told apart."""
    agent = AGENT.replace(runtime=runtime)
    bench = Bench(with_tools({"a": 1}, {"b": 2}), agent)
    life = await live(bench, job())
    again = await asyncio.to_thread(rerun, life.chain, bench.blobs, agent)
    assert (again.verdict, again.records, frameworks_of(bench)) == ("identical", 3, {runtime})
    native = await asyncio.to_thread(rerun, life.chain, bench.blobs, AGENT)
    assert isinstance(native.divergence, Divergence)
    assert native.divergence.where == "/run/agent/definition_hash"

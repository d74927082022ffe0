"""What a spec stands for, the facade that calls it, and its metrics."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from headrace.messages.run import Entry, Usage
from headrace.models import Model, ModelError, ModelReply, ModelRequest
from headrace.models.quirks import reasoning_effort, thinking
from headrace.models.resolve import Models, resolve
from headrace.models.settings import ANTHROPIC_URL, OPENAI_URL, ModelSettings
from headrace.simulator.server import Simulator
from tests.support.simulator import script, settings_for

REQUEST = ModelRequest(model="", system="Answer.", entries=(Entry(role="user", content="hello"),), timeout_s=10)


@pytest.mark.parametrize(
    ("spec", "environment", "resolved"),
    [
        ("default", {}, "offline"),
        ("default", {"openai_api_key": "o"}, "openai:gpt-6-luna"),
        ("default", {"anthropic_api_key": "a"}, "anthropic:claude-haiku-5-5"),
        ("default", {"anthropic_api_key": "a", "openai_api_key": "o"}, "anthropic:claude-haiku-5-5"),
        ("default", {"anthropic_api_key": "", "openai_api_key": " "}, "offline"),
        ("default", {"model": "openai:gpt-6-sol", "anthropic_api_key": "a"}, "openai:gpt-6-sol"),
        ("default", {"model": "offline", "anthropic_api_key": "a"}, "offline"),
        ("default", {"model": ""}, "offline"),
        ("default", {"anthropic_api_key": "a", "anthropic_model": "claude-opus-5-5"}, "anthropic:claude-opus-5-5"),
        ("default", {"openai_api_key": "o", "openai_model": "house-7b"}, "openai:house-7b"),
        ("anthropic", {}, "anthropic:claude-haiku-5-5"),
        ("openai:gpt-6-sol", {}, "openai:gpt-6-sol"),
        ("openai:org/model:tag", {}, "openai:org/model:tag"),
        ("offline", {"anthropic_api_key": "a"}, "offline"),
    ],
)
def test_resolution(spec: str, environment: dict[str, Any], resolved: str) -> None:
    assert resolve(spec, ModelSettings(_env_file=None, **environment)) == resolved


@pytest.mark.parametrize("spec", ["", "gpt-6", "openai:", "openai: ", "google:gemini", ":x", "default:x", "offline:x"])
def test_no_such_model(spec: str) -> None:
    with pytest.raises(ModelError, match="names no model") as caught:
        resolve(spec, ModelSettings(_env_file=None))
    assert (caught.value.kind, caught.value.retryable) == ("not_configured", False)


def test_default_must_not_refer_to_itself() -> None:
    with pytest.raises(ModelError, match="names no model"):
        resolve("default", ModelSettings(_env_file=None, model="default"))


def test_settings_come_from_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    monkeypatch.setenv("HEADRACE_MODEL", "openai:house-7b")
    settings = ModelSettings(_env_file=None)
    assert settings.anthropic_api_key is not None
    assert settings.anthropic_api_key.get_secret_value() == "a-key"
    assert (settings.openai_base_url, settings.anthropic_base_url) == ("http://127.0.0.1:1/v1", ANTHROPIC_URL)
    assert (settings.model, settings.openai_api_key) == ("openai:house-7b", None)
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert ModelSettings(_env_file=None).openai_base_url == OPENAI_URL


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("spec", ["anthropic:claude-haiku-5-5", "openai:gpt-6-luna"])
async def test_facade_calls_and_counts(simulator: Simulator, spec: str) -> None:
    simulator.play(
        script(
            {"match": {"last_user": "fail"}, "reply": {"status": 404}},
            {"reply": {"text": "hi", "usage": {"input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 2}}},
        )
    )
    before = [sample("headrace_tokens_total", model=spec, direction=d) for d in ("input", "output", "cache_read")]
    models = Models(settings_for(simulator))
    ok, missing = ({"model": spec, "outcome": outcome} for outcome in ("ok", "not_found"))
    calls = sample("headrace_model_calls_total", **ok), sample("headrace_model_calls_total", **missing)
    reply = await models.complete(spec, REQUEST)
    with pytest.raises(ModelError):
        await models.complete(
            spec, ModelRequest(model="", system="", entries=(Entry(role="user", content="fail"),), timeout_s=5)
        )
    await models.close()
    after = [sample("headrace_tokens_total", model=spec, direction=d) for d in ("input", "output", "cache_read")]
    assert (reply.text, reply.model) == ("hi", spec)
    assert [b - a for a, b in zip(before, after, strict=True)] == [7, 3, 2]
    assert sample("headrace_model_calls_total", **ok) - calls[0] == 1
    assert sample("headrace_model_calls_total", **missing) - calls[1] == 1
    assert [seen.model for seen in simulator.requests] == [spec.split(":")[1]] * 2


async def test_adapters_are_made_once_and_closed() -> None:
    made: list[Scripted] = []

    def make(_settings: ModelSettings) -> Model:
        made.append(Scripted())
        return made[-1]

    models = Models(ModelSettings(_env_file=None), {"offline": make})
    await asyncio.gather(*(models.complete("offline", REQUEST) for _ in range(5)))
    await models.close()
    assert [(one.calls, one.closed) for one in made] == [(5, True)]


class Scripted:
    """A third adapter behind the port."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = False

    async def complete(self, request: ModelRequest) -> ModelReply:
        assert request.model == "offline"
        self.calls += 1
        return ModelReply(text="x", tool_calls=(), usage=Usage(), model="offline")

    async def close(self) -> None:
        self.closed = True


async def test_closed_models_can_be_used_again(simulator: Simulator) -> None:
    models = Models(settings_for(simulator))
    await models.complete("openai:gpt-6-luna", REQUEST)
    await models.close()
    assert (await models.complete("openai:gpt-6-luna", REQUEST)).text == "echo: hello"
    await models.close()


@pytest.mark.parametrize(
    ("setting", "model", "sent"),
    [
        ("auto", "claude-haiku-5-5", {"type": "disabled"}),
        ("auto", "claude-sonnet-5-5", {"type": "between_tools"}),
        ("auto", "claude-opus-5-5", None),
        ("auto", "claude-sonnet-4-6", None),
        ("omit", "claude-haiku-5-5", None),
        ("adaptive", "claude-haiku-5-5", {"type": "adaptive"}),
    ],
)
def test_thinking(setting: str, model: str, sent: dict[str, str] | None) -> None:
    assert thinking(setting, model) == sent


@pytest.mark.parametrize(
    ("setting", "model", "sent"),
    [
        ("auto", "gpt-6-luna", "none"),
        ("auto", "gpt-6-astra", None),
        ("auto", "house-7b", None),
        ("omit", "gpt-6-luna", None),
        ("low", "gpt-6-astra", "low"),
    ],
)
def test_reasoning_effort(setting: str, model: str, sent: str | None) -> None:
    assert reasoning_effort(setting, model) == sent


async def test_settings_reach_the_wire(simulator: Simulator) -> None:
    models = Models(settings_for(simulator, openai_json_mode=True, openai_max_tokens_field="max_tokens"))
    await models.complete(
        "openai:gpt-6-luna",
        ModelRequest(model="", system="", entries=REQUEST.entries, output_schema={"type": "object"}, timeout_s=10),
    )
    await models.complete("anthropic:claude-haiku-5-5", REQUEST)
    await models.close()
    openai, anthropic = (seen.body for seen in simulator.requests)
    assert openai["response_format"] == {"type": "json_object"}
    assert (openai["max_tokens"], "max_completion_tokens" in openai) == (2_000, False)
    assert openai["reasoning_effort"] == "none"
    assert anthropic["thinking"] == {"type": "disabled"}

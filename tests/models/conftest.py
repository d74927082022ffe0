"""Both adapters over HTTP against one simulator, with time under the tests' control."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from headrace.messages.run import Entry
from headrace.models import Model, ModelReply, ModelRequest, ToolSpec
from headrace.models.anthropic import AnthropicModel
from headrace.models.openai import OpenAIModel
from headrace.models.retry import RetryPolicy
from headrace.simulator.log import Logged
from headrace.simulator.server import Simulator
from tests.support.no_models import no_models
from tests.support.simulator import script, settings_for, simulator

__all__ = ["no_models", "simulator"]

ProviderName = Literal["anthropic", "openai"]
MODEL_NAMES = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
LOOKUP = ToolSpec(
    "lookup", "Look a city up.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)


@dataclass
class VirtualTime:
    """A clock that only ``sleep`` moves; ``slept`` is what was waited for, in seconds."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Bench:
    """One provider's adapter, its simulator, and the time that its retries see. Jitter is fixed at one half."""

    provider: ProviderName
    simulator: Simulator
    time: VirtualTime
    model: Model

    def play(self, *rules: dict[str, Any]) -> None:
        self.simulator.play(script(*rules))

    def request(self, *entries: Entry, **changes: Any) -> ModelRequest:
        values: dict[str, Any] = {"model": MODEL_NAMES[self.provider], "system": "Answer briefly.", "timeout_s": 20.0}
        return ModelRequest(entries=entries or (Entry(role="user", content="hello"),), **{**values, **changes})

    async def ask(self, *entries: Entry, **changes: Any) -> ModelReply:
        return await self.model.complete(self.request(*entries, **changes))

    @property
    def seen(self) -> list[Logged]:
        return list(self.simulator.requests)


def make_model(provider: ProviderName, simulator: Simulator, time: VirtualTime, **settings: Any) -> Model:
    policy = RetryPolicy(clock=time.clock, sleep=time.sleep, random=lambda: 0.5)
    made = settings_for(simulator, **settings)
    return AnthropicModel(made, policy) if provider == "anthropic" else OpenAIModel(made, policy)


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(params=["anthropic", "openai"])
def provider(request: pytest.FixtureRequest) -> ProviderName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def bench(provider: ProviderName, shared_simulator: Simulator) -> AsyncIterator[Bench]:
    shared_simulator.requests.clear()
    shared_simulator.play(script())
    time = VirtualTime()
    model = make_model(provider, shared_simulator, time)
    yield Bench(provider, shared_simulator, time, model)
    await model.close()

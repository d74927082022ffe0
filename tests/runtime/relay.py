"""A minimal processor for runtime tests: a job in, a job out, with faults by prompt; and the settings and stage it runs as."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from headrace.local.endpoints import Endpoints
from headrace.messages.base import Message
from headrace.messages.errors import DependencyUnavailable, RejectedMessage
from headrace.messages.job import Job
from headrace.pipeline import Stage
from headrace.runtime.api import Context, Send
from headrace.settings import MeshSettings

STAGE = Stage("relay", consumes=("agent.jobs",), produces=("relayed", "copied"))
TOPICS = ("agent.jobs", "relayed", "copied", "relay.dlq")


class NoBlobs:
    async def put(self, data: bytes) -> str:
        raise AssertionError("nothing here is large")

    async def get(self, ref: str) -> bytes:
        raise AssertionError("nothing here is large")


class Relay:
    """``delay(job)`` seconds of work; prompts ``poison``, ``flaky:N`` (fails N times) and ``away:N`` (dependency away N times)."""

    def __init__(self, delay: Callable[[Job], float] = lambda _job: 0.0) -> None:
        self.delay = delay
        self.started: list[str] = []
        self.in_flight: dict[str, int] = {}
        self.most_per_key = 0

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        assert isinstance(message, Job)
        key = message.record_key()
        self.started.append(message.job_id)
        self.in_flight[key] = self.in_flight.get(key, 0) + 1
        self.most_per_key = max(self.most_per_key, self.in_flight[key])
        try:
            if seconds := self.delay(message):
                await asyncio.sleep(seconds)
            self._maybe_fail(message.prompt or "", context.attempt)
        finally:
            self.in_flight[key] -= 1
        return [Send(message, topic="relayed"), Send(message, topic="copied")]

    @staticmethod
    def _maybe_fail(prompt: str, attempt: int) -> None:
        kind, _, count = prompt.partition(":")
        if kind == "poison":
            raise RejectedMessage("poison", cause="poison", where="/prompt")
        if kind == "flaky" and attempt <= int(count):
            raise ValueError("flaky")
        if kind == "away" and attempt <= int(count):
            raise DependencyUnavailable("away")


class BatchRelay:
    """A relay for many records at once; the prompt ``bomb`` makes it fail as a whole."""

    def __init__(self) -> None:
        self.single = Relay()
        self.batches: list[list[str]] = []  # job ids

    async def handle_all(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Sequence[Send] | Exception]:
        jobs = [message for message, _ in inputs if isinstance(message, Job)]
        self.batches.append([job.job_id for job in jobs])
        if any(job.prompt == "bomb" for job in jobs):
            raise ValueError("bomb")
        return [await self._one(message, context) for message, context in inputs]

    async def _one(self, message: Message, context: Context) -> Sequence[Send] | Exception:
        try:
            return await self.single.handle(message, context)
        except Exception as error:
            return error


def settings_for(stack: Endpoints, namespace: str, **more: object) -> MeshSettings:
    return MeshSettings(
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        schema_registry_url=stack.schema_registry_url,
        topic_prefix=namespace,
        **more,  # type: ignore[arg-type]
    )


def job(number: int, key: str | None, prompt: str = "x") -> tuple[str | None, bytes]:
    return key, msgspec.json.encode(Job(job_id=f"job-{number}", prompt=prompt, partition_key=key))

"""Agents as data: a definition, and the pointer that says which of its versions is live."""

from __future__ import annotations

from typing import ClassVar, Literal

import orjson
from pydantic import Field

from headrace.messages.base import JsonObject, Message, Part
from headrace.messages.ids import short_hash
from headrace.messages.run import AgentRef

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$"


class Trigger(Part):
    """Which events make a job: shell-style patterns on source and type, and a JMESPath filter over the canonical event."""

    source: str = "*"
    type: str
    filter: str | None = Field(default=None, max_length=2000)


class Limits(Part):
    """What one run may use; the first one reached ends it with a result that says which."""

    max_steps: int = Field(default=8, ge=1, le=1000)
    max_tokens: int = Field(default=60_000, ge=1)
    max_cost_usd: float = Field(default=1.0, gt=0)
    max_output_tokens: int = Field(default=2_000, ge=1)
    timeout_s: float = Field(default=300, gt=0, le=86_400)


class AgentDefinition(Part):
    """One version of an agent. Immutable once published: a change is a new version."""

    name: str = Field(pattern=NAME)
    version: str = Field(pattern=SEMVER)
    category: str = Field(min_length=1, max_length=64)
    description: str = Field(min_length=1, max_length=2000)
    system_prompt: str = Field(min_length=1)
    model: str = Field(default="default", description="anthropic:NAME, openai:NAME, offline, or default (by settings)")
    input_schema: JsonObject = Field(default_factory=dict)
    output_schema: JsonObject = Field(default_factory=dict, description="Empty: the answer is free text")
    tools: tuple[str, ...] = ()
    http_domains: tuple[str, ...] = Field(
        default=(), description="Hosts that its tools may call; *.example.org allowed"
    )
    triggers: tuple[Trigger, ...] = ()
    limits: Limits = Limits()
    runtime: Literal["native"] = "native"

    @property
    def definition_hash(self) -> str:
        return short_hash(orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS))

    @property
    def prompt_hash(self) -> str:
        return short_hash(self.system_prompt.encode())

    def ref(self) -> AgentRef:
        return AgentRef(
            name=self.name,
            version=self.version,
            definition_hash=self.definition_hash,
            prompt_hash=self.prompt_hash,
        )


class AgentRecord(Message):
    """One record of the compacted topic ``agent.definitions``.

    Key ``name@version`` holds a definition, key ``name`` the live version. A definition comes before the pointer to it.
    """

    TOPIC: ClassVar[str] = "agent.definitions"
    TYPE: ClassVar[str] = "dev.headrace.agent.definition"

    schema_version: str = Field(default="1.0", pattern=r"^1\.[0-9]+$")
    name: str = Field(pattern=NAME)
    definition: AgentDefinition | None = None
    live_version: str | None = Field(default=None, pattern=SEMVER)

    def message_id(self) -> str:
        return self.record_key()

    def record_key(self) -> str:
        return f"{self.name}@{self.definition.version}" if self.definition else self.name

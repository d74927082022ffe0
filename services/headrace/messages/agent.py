"""Agents as data: a definition, and the pointer that says which of its versions is live."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import JsonObject, Message, Part, Version
from headrace.messages.canonical import canonical_json
from headrace.messages.ids import short_hash
from headrace.messages.run import AgentRef, DoubleTexting

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$"
AgentName = Annotated[str, Meta(pattern=NAME)]
AgentVersion = Annotated[str, Meta(pattern=SEMVER)]
_ADDED = (
    "approvals",
    "delegation",
    "approval",
    "double_texting",
    "runtime_url",
)  # fields of AgentDefinition since its hash was fixed
_AtLeastOne = Annotated[int, Meta(ge=1)]


class Trigger(Part, frozen=True, kw_only=True):
    """Which events make a job: shell-style patterns on source and type, and a JMESPath filter over the canonical event."""

    source: str = "*"
    type: str
    filter: Annotated[str, Meta(max_length=2000)] | None = None


class Limits(Part, frozen=True, kw_only=True):
    """What one run may use; the first one reached ends it with a result that says which."""

    max_steps: Annotated[int, Meta(ge=1, le=1000)] = 8
    max_tokens: _AtLeastOne = 60_000
    max_cost_usd: Annotated[float, Meta(gt=0)] = 1.0
    max_output_tokens: _AtLeastOne = 2_000
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 300.0


class Approvals(Part, frozen=True, kw_only=True):
    """Which calls wait for somebody's yes. Without an answer in time, it is no."""

    tools: Annotated[tuple[str, ...], Meta(description="Shell-style patterns; empty: every tool")] = ()
    timeout_s: Annotated[float, Meta(gt=0, le=2_592_000)] = 86_400.0


class Delegation(Part, frozen=True, kw_only=True):
    """Which agents this one may hand work to (shell-style patterns), and how far that may go."""

    agents: tuple[str, ...]
    max_runs: Annotated[int, Meta(ge=1, le=1_000, description="Runs of a whole family below the first one")] = 16
    max_depth: Annotated[int, Meta(ge=1, le=10)] = 3


class AgentDefinition(Part, frozen=True, kw_only=True):
    """One version of an agent. Immutable once published: a change is a new version."""

    name: AgentName
    version: AgentVersion
    category: Annotated[str, Meta(min_length=1, max_length=64)]
    description: Annotated[str, Meta(min_length=1, max_length=2000)]
    system_prompt: Annotated[str, Meta(min_length=1)]
    model: Annotated[str, Meta(description="anthropic:NAME, openai:NAME, offline, or default (by settings)")] = (
        "default"
    )
    input_schema: JsonObject = {}
    output_schema: Annotated[JsonObject, Meta(description="Empty: the answer is free text")] = {}
    tools: tuple[str, ...] = ()
    http_domains: Annotated[
        tuple[str, ...], Meta(description="Hosts that its tools may call; *.example.org allowed")
    ] = ()
    triggers: tuple[Trigger, ...] = ()
    limits: Limits = Limits()
    runtime: Literal["native", "langgraph", "crewai", "autogen", "http"] = "native"
    runtime_url: Annotated[str, Meta(max_length=2000, description="Of the runtime http: the service")] | None = None
    approvals: Approvals | None = None
    delegation: Delegation | None = None
    approval: Annotated[
        Literal["required"] | None, Meta(description="required: handing work to this agent waits for somebody's yes")
    ] = None
    double_texting: Annotated[
        DoubleTexting | None,
        Meta(description="A job whose session is busy waits (the default), is refused, or ends what is before it"),
    ] = None

    @property
    def definition_hash(self) -> str:
        """Fields that came after 1.0 count only where they say something: what was published before keeps its hash."""
        shown = self.plain()
        for name in _ADDED:
            if shown[name] is None:
                del shown[name]
        return short_hash(canonical_json(shown))

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


class Canary(Part, frozen=True, kw_only=True):
    """A version that some of the keys get in place of the live one (``registry.canary`` says which)."""

    version: AgentVersion
    percent: Annotated[float, Meta(gt=0, lt=100, description="Of the keys")]


class WasLive(Part, frozen=True, kw_only=True):
    """A version that was live for all keys, until when, and who put another one in its place."""

    version: AgentVersion
    until: str
    ended_by: str


PointerChange = Literal["published", "promoted", "canary", "rolled_back"]


class AgentRecord(Message, frozen=True, kw_only=True):
    """One record of the compacted topic ``agent.definitions``.

    Key ``name@version`` holds a definition, key ``name`` the live version. A definition comes before the pointer to it.
    All fields from ``canary`` on are the pointer's (``registry.pointer``).
    """

    TOPIC: ClassVar[str] = "agent.definitions"
    TYPE: ClassVar[str] = "dev.headrace.agent.definition"

    schema_version: Version = "1.0"
    name: AgentName
    definition: AgentDefinition | None = None
    live_version: AgentVersion | None = None
    canary: Canary | None = None
    revision: Annotated[int, Meta(ge=0, description="Counts the changes of the pointer; 0: none was counted yet")] = 0
    change: PointerChange | None = None
    replaced: Annotated[
        AgentVersion | None, Meta(description="What its keys got before this change, where that was another version")
    ] = None
    changed_by: Annotated[str | None, Meta(description="The id of a credential, or cli:USER@HOST")] = None
    changed_at: str | None = None
    reason: Annotated[str, Meta(max_length=2000)] | None = None
    before: Annotated[
        tuple[WasLive, ...], Meta(description="What was live before, the newest first: where a rollback goes")
    ] = ()

    def message_id(self) -> str:
        return self.record_key()

    def record_key(self) -> str:
        return f"{self.name}@{self.definition.version}" if self.definition else self.name

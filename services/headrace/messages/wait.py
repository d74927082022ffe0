"""A run that waits: ``run.waits`` parks its continuation, ``wait.completions`` says what became of one thing it waits for.

A turn whose calls can't all finish now (somebody has to say yes, a sub-agent has to answer) is one *wait* with a
*pending call* for each of them. When the last one is settled the run goes on: with ``tool.results`` if every call has
its outcome, or with ``tool.calls`` once more if some were approved and have to be made.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, JsonObject, Message, Part, Version
from headrace.messages.canonical import canonical_json
from headrace.messages.ids import short_hash
from headrace.messages.job import Job
from headrace.messages.run import Continuation, ToolCall, ToolError, ToolOutcome

Kind = Literal[
    "approval",  # somebody has to say yes; without an answer in time it is no
    "agent",  # a sub-agent's result
    "callback",  # an outcome that somebody outside reports
    "timer",  # a moment
    "intent",  # a call that may have been made already, and must not be made twice
    "kube_job",  # the end of a Job that was submitted to Kubernetes
]
HUMAN: Final = frozenset({"approval", "callback", "intent"})  # the time that these take is not the run's own
SHA256: Final = r"^[0-9a-f]{64}$"
Digest = Annotated[str, Meta(pattern=SHA256)]


class PendingCall(Part, frozen=True, kw_only=True):
    """One call that is not finished. ``job`` is what a call of kind ``agent`` begins, ``kube_job`` the name of the Job that one of
    that kind waits for.
    """

    call_id: str
    kind: Kind
    deadline_ms: Annotated[int, Meta(description="Epoch milliseconds; then the declared outcome counts")]
    arguments_hash: Annotated[Digest, Meta(description="SHA-256 of the arguments as canonical JSON")]
    job: Job | None = None
    kube_job: Annotated[str, Meta(max_length=63)] | None = None


class RunWait(Continuation, frozen=True, kw_only=True):
    """The calls of one turn, those that are pending, and the continuation of the run that waits for them."""

    TOPIC: ClassVar[str] = "run.waits"
    TYPE: ClassVar[str] = "dev.headrace.run.wait"

    calls: Annotated[tuple[ToolCall, ...], Meta(min_length=1)]
    pending: Annotated[tuple[PendingCall, ...], Meta(min_length=1)]
    results: Annotated[tuple[ToolOutcome, ...], Meta(description="Outcomes that are there already")] = ()
    round: Annotated[int, Meta(ge=0, description="As in the tool.calls record that led here")] = 0

    def message_id(self) -> str:
        return f"{self.run.run_id}:{self.progress.step}:wait:{self.round}"


class Decision(Part, frozen=True, kw_only=True):
    """What somebody decided, about exactly these arguments. ``arguments`` are theirs, in place of the call's."""

    verdict: Literal["approve", "deny"]
    arguments_hash: Digest
    by: Annotated[str, Meta(min_length=1, max_length=128, description="Id of the credential, never the credential")]
    arguments: JsonObject | None = None
    reason: Annotated[str, Meta(max_length=1_000)] | None = None


class Reported(Part, frozen=True, kw_only=True):
    """The outcome of a call as it was reported: ``content``, or ``error``."""

    content: Any = None
    error: ToolError | None = None
    by: Annotated[str, Meta(max_length=128, description="Id of the credential, never the credential")] | None = None


class WaitCompletion(Message, frozen=True, kw_only=True):
    """What became of one pending call. The first one that settles it counts, whatever comes after."""

    TOPIC: ClassVar[str] = "wait.completions"
    TYPE: ClassVar[str] = "dev.headrace.wait.completion"

    schema_version: Version = SCHEMA_VERSION
    tenant: str
    run_id: Annotated[str, Meta(min_length=1)]
    agent: str = ""
    step: int
    round: Annotated[int, Meta(ge=0)] = 0
    call_id: str
    cause: Literal["decision", "reported", "due", "cancelled"]
    decision: Decision | None = None
    reported: Reported | None = None

    def message_id(self) -> str:
        said = self.decision or self.reported
        mark = f":{short_hash(canonical_json(said.plain()))}" if said else ""
        return f"{self.run_id}:{self.step}:{self.round}:{self.call_id}:{self.cause}{mark}"

    def record_key(self) -> str:
        return self.run_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.run_id, "agent": self.agent}


def arguments_hash(arguments: JsonObject) -> str:
    """SHA-256 (hex) of ``arguments`` as JSON with sorted keys and no spaces: what an approval is bound to."""
    return hashlib.sha256(canonical_json(arguments)).hexdigest()


def human(pending: tuple[PendingCall, ...]) -> bool:
    """Whether one of these waits for somebody, so that the run's own time stands still."""
    return any(one.kind in HUMAN for one in pending)

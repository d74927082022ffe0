"""``replay.actions``: who replayed what. A record when it begins, before anything of it is done, and one when it ends."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Message, Version
from headrace.messages.job import DEFAULT_TENANT, Name

ActionKind = Literal[
    "rebuild",  # a service's offsets were reset, and what it keeps made again
    "rebuild_beside",  # an index made again beside the live one
    "swap",  # the one beside put in the live one's place
    "drop",  # an index that a swap had put aside, removed
    "rerun",  # stored runs reasoned again over their records
    "shadow",  # events reasoned by another version
    "bulk_rerun",  # stored runs begun again, live
    "bulk_cancel",  # runs asked to end
    "redrive",  # dead letters sent back
]
Phase = Literal["begun", "completed", "failed", "interrupted"]


class ReplayAction(Message, frozen=True, kw_only=True):
    """A replay began or ended. One that has no end was killed, or still goes on.

    Single forks, and runs that a command begins again, are jobs that name who asked for them, and dead letters that a command sends
    back have a marker that does: they have no record here.
    """

    TOPIC: ClassVar[str] = "replay.actions"
    TYPE: ClassVar[str] = "dev.headrace.replay.action"

    schema_version: Version = SCHEMA_VERSION
    tenant: Name = DEFAULT_TENANT
    action_id: Annotated[
        str, Meta(pattern=r"^[a-z0-9-]{1,64}$", description="The same at the beginning and at the end")
    ]
    kind: ActionKind
    phase: Phase
    by: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="Id of the credential; cli:USER@HOST is whoever gave a command by the machine's word, unchecked",
        ),
    ]
    replay_id: Annotated[str, Meta(max_length=256)] | None = None
    run_id: Annotated[str, Meta(max_length=256, description="Where one run was meant")] | None = None
    agent: Annotated[str, Meta(max_length=256, description="Where runs of one agent were meant")] | None = None
    service: Annotated[str, Meta(max_length=64, description="Whose offsets, or whose tables")] | None = None
    range: Annotated[str, Meta(max_length=256, description="What of history, in the words of the command")] | None = (
        None
    )
    records: (
        Annotated[int, Meta(ge=0, description="At the end: records, runs or events that were gone through")] | None
    ) = None
    error: Annotated[str, Meta(max_length=64, description="failed: a stable code")] | None = None
    at: Annotated[str, Meta(description="ISO 8601, UTC")]

    def message_id(self) -> str:
        return f"{self.action_id}:{self.phase}"

    def record_key(self) -> str:
        return self.action_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant}

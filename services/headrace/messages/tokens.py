"""``run.tokens``: what a model has written so far, while it writes, of runs whose caller asked for that.

Advisory: pieces may be missing, and nothing of a run depends on them. The record that ends the turn (``tool.calls`` or
``agent.results``) has its whole text.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Message, Version


class RunTokens(Message, frozen=True, kw_only=True):
    """A piece of the text of one model turn."""

    TOPIC: ClassVar[str] = "run.tokens"
    TYPE: ClassVar[str] = "dev.headrace.run.tokens"

    schema_version: Version = SCHEMA_VERSION
    tenant: str
    run_id: str
    agent: str
    step: Annotated[int, Meta(ge=1, description="The step that this turn leads to")]
    at: Annotated[
        int,
        Meta(
            ge=0,
            description="Position of the piece in the turn's text, in characters; 0 again: the turn was begun anew",
        ),
    ]
    text: str

    def message_id(self) -> str:
        return f"{self.run_id}:{self.step}:tokens:{self.at}"

    def record_key(self) -> str:
        return self.run_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.run_id, "agent": self.agent}

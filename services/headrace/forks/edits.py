"""What a fork changes of the run that it leaves. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.messages.base import JsonObject
from headrace.messages.canonical import canonical_json
from headrace.messages.errors import HeadraceError
from headrace.messages.run import ToolCall, ToolOutcome


class CantFork(HeadraceError):
    """The fork that is asked for can't be made. ``where`` is a JSON pointer into the request; the text quotes no values."""

    def __init__(self, message: str, where: str = "/at") -> None:
        super().__init__(message)
        self.where = where


class UnknownRun(CantFork):
    """The index has no such run (yet)."""


@dataclass(frozen=True, slots=True)
class Edits:
    """None and empty: unchanged. ``tool_results`` are JSON values by call id; ``input`` and ``prompt`` are of the job."""

    input: Any = None
    prompt: str | None = None
    version: str | None = None
    tool_results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What is changed, for the record of it."""
        named = [name for name in ("input", "prompt", "version") if getattr(self, name) is not None]
        return (*named, *(f"tool_results/{call_id}" for call_id in sorted(self.tool_results)))

    @property
    def digest(self) -> str:
        """SHA-256 (hex): equal edits make equal forks."""
        said = {"input": self.input, "prompt": self.prompt, "version": self.version}
        content: JsonObject = {name: value for name, value in said.items() if value is not None}
        content |= {"tool_results": dict(self.tool_results)} if self.tool_results else {}
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def outcomes(self, calls: tuple[ToolCall, ...], recorded: tuple[ToolOutcome, ...]) -> tuple[ToolOutcome, ...]:
        """The outcomes that are there, in the order of ``calls``, with these in place of the recorded ones.

        Raises ``CantFork`` for a call that the turn did not make.
        """
        asked = {call.call_id: call for call in calls}
        if unknown := sorted(set(self.tool_results) - set(asked)):
            shown = ", ".join(repr(one[:64]) for one in unknown)
            raise CantFork(f"no call {shown} at this step; it has {', '.join(asked)}", "/tool_results")
        known = {outcome.call_id: outcome for outcome in recorded}
        known |= {call_id: _outcome(asked[call_id], content) for call_id, content in self.tool_results.items()}
        return tuple(known[call.call_id] for call in calls if call.call_id in known)


def _outcome(call: ToolCall, content: Any) -> ToolOutcome:
    return ToolOutcome(
        call_id=call.call_id, tool=call.tool, tool_version=call.tool_version, status="ok", content=content
    )

"""Where a run comes from that somebody began at a step of another one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from headrace.messages.base import Part


class ForkedFrom(Part, frozen=True, kw_only=True):
    """The other run, and where this one leaves it. ``edited`` names what was changed there, never to what."""

    run_id: str
    step: Annotated[int, Meta(ge=0, description="0: at its job; else at the tool results of that model turn")]
    by: Annotated[str | None, Meta(description="Id of the credential that asked, never the credential")] = None
    edited: Annotated[tuple[str, ...], Meta(description="input, prompt, version, or tool_results/<call id>")] = ()

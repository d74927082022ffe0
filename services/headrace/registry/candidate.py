"""A definition to be tried in place of the live one. Pure."""

from __future__ import annotations

from typing import Final

from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import BadMessage

SHADOW: Final = "shadow"
_OUTSIDE: Final = "http"


class InvalidCandidate(BadMessage):
    """What can't be tried; the text says why."""

    cause = "replay_candidate"


def changed(
    live: AgentDefinition, other: AgentDefinition | None = None, *, model: str | None = None, prompt: str | None = None
) -> AgentDefinition:
    """The candidate: ``other`` (or ``live``) with this model and system prompt.

    Raises:
        InvalidCandidate: nothing is changed, ``other`` is another agent, or its turns are taken by a service outside.
    """
    candidate = other or live
    if _OUTSIDE in (live.runtime, candidate.runtime):
        raise InvalidCandidate(
            "what a service of somebody else's does in a turn can't be kept in the shadow: runtime http"
        )
    if candidate.name != live.name:
        raise InvalidCandidate(f"the candidate is of {candidate.name}, not of {live.name}")
    if model is not None:
        candidate = candidate.replace(model=model)
    if prompt is not None:
        candidate = candidate.replace(system_prompt=prompt)
    if candidate == live:
        raise InvalidCandidate("the candidate is the live version: name another version, a model or a prompt")
    edited = model is not None or prompt is not None or candidate.version == live.version
    return candidate.replace(version=_named_apart(candidate.version)) if edited else candidate


def _named_apart(version: str) -> str:
    """A version that nobody published, for a definition that is not published either."""
    return f"{version}{'.' if '-' in version else '-'}{SHADOW}"

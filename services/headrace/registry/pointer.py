"""What may become of the pointer to an agent's live version. Pure: from what is there to what is written.

    published     a version is live for all keys, as its file was published
    canary        another version is live for a share of the keys; again with another share
    promoted      a version is live for all keys; its canary has ended
    rolled_back   a canary has ended, or else what was live before is live again

Each change has a revision, so that whoever decided by what they saw can say what that was. What was live before is a stack in the
pointer itself: promoting puts onto it, rolling back takes from it, and a canary, which was never live for all, does neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.messages.agent import AgentRecord, Canary, PointerChange, WasLive
from headrace.messages.errors import BadMessage

_KEPT: Final = 20  # versions that were live before


class CantChange(BadMessage):
    """The change can't be made to what is there; ``cause`` says why, the text also what is there."""

    cause = "cant_change"


class UnknownAgent(CantChange):
    cause = "unknown_agent"


class UnknownVersion(CantChange):
    cause = "unknown_version"


class NothingBefore(CantChange):
    cause = "nothing_before"


class RevisionConflict(CantChange):
    cause = "revision_conflict"


@dataclass(frozen=True, slots=True)
class By:
    """Who changes it, when (ISO 8601, UTC), and what for."""

    who: str
    at: str
    reason: str | None = None


def check_revision(pointer: AgentRecord | None, base: int | None) -> None:
    """Raises ``RevisionConflict`` where ``base`` is given and not what is there."""
    there = pointer.revision if pointer else 0
    if base is not None and base != there:
        raise RevisionConflict(f"the agent is at revision {there}, not {base}")


def published(pointer: AgentRecord | None, name: str, version: str, by: By) -> AgentRecord:
    """``version`` is live for all keys."""
    return _live(pointer, name, version, "published", by)


def promoted(pointer: AgentRecord | None, name: str, version: str, by: By) -> AgentRecord:
    """Likewise; the same pointer where it is so already."""
    if pointer and pointer.live_version == version and pointer.canary is None:
        return pointer
    return _live(pointer, name, version, "promoted", by)


def canary(pointer: AgentRecord | None, version: str, percent: float, by: By) -> AgentRecord:
    """``version`` for ``percent`` of the keys; the same pointer where it is so already.

    Raises ``CantChange`` where nothing is live for the other keys, or it is this very version.
    """
    if pointer is None or pointer.live_version is None:
        raise CantChange("no version is live for the other keys: promote one without a canary first")
    if pointer.live_version == version:
        raise CantChange(f"version {version} is live for all keys already")
    wanted = Canary(version=version, percent=percent)
    if pointer.canary == wanted:
        return pointer
    return _changed(pointer, "canary", by, canary=wanted, replaced=pointer.live_version)


def rolled_back(pointer: AgentRecord | None, by: By) -> AgentRecord:
    """Without its canary, or else with what was live before. Raises ``NothingBefore``."""
    if pointer and pointer.canary:
        return _changed(pointer, "rolled_back", by, canary=None, replaced=pointer.canary.version)
    if pointer is None or not pointer.before:
        raise NothingBefore("there is no canary, and nothing is known that was live before")
    last, *earlier = pointer.before
    return _changed(
        pointer,
        "rolled_back",
        by,
        live_version=last.version,
        replaced=pointer.live_version,
        before=tuple(earlier),
    )


def _live(pointer: AgentRecord | None, name: str, version: str, change: PointerChange, by: By) -> AgentRecord:
    there = pointer or AgentRecord(name=name)
    replaced, before = None, there.before
    if there.live_version and there.live_version != version:
        replaced = there.live_version
        before = (WasLive(version=replaced, until=by.at, ended_by=by.who), *before)[:_KEPT]
    return _changed(there, change, by, live_version=version, canary=None, replaced=replaced, before=before)


def _changed(pointer: AgentRecord, change: PointerChange, by: By, **fields: object) -> AgentRecord:
    return pointer.replace(
        revision=pointer.revision + 1,
        change=change,
        changed_by=by.who,
        changed_at=by.at,
        reason=by.reason,
        **fields,
    )

"""What a principal of the cluster needs, as Kafka's ACLs. Pure.

A *replay* principal reads what the mesh wrote and may write the shadow topics, the record of who replayed what, and the offsets of
shadows: whatever its process tries, the broker refuses the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from headrace.messages.catalog import SHADOWS
from headrace.messages.replay import ReplayAction

Resource = Literal["topic", "group", "transactional_id"]
Operation = Literal["read", "write", "describe", "describe_configs"]
_SHADOW_DEAD_LETTERS: Final = "shadow.dlq"
_GROUPS: Final = "headrace."
_OWN_GROUPS: Final = "headrace.shadow."
_OWN_TRANSACTIONS: Final = ("headrace.shadow.", "headrace.replay.")


@dataclass(frozen=True, slots=True)
class Acl:
    """One thing that is allowed, on the cluster's names. ``prefixed``: on all that begin with ``name``."""

    resource: Resource
    name: str
    prefixed: bool
    operation: Operation

    @property
    def pattern(self) -> str:
        return "prefixed" if self.prefixed else "literal"


def replay_acls(topics: Iterable[str], prefix: str) -> list[Acl]:
    """For whoever runs shadows and re-runs. ``topics`` are the declared ones, ``prefix`` the mesh's."""
    read: tuple[Operation, ...] = ("read", "describe_configs")
    writable = (*SHADOWS, _SHADOW_DEAD_LETTERS, ReplayAction.TOPIC)
    return [
        *(Acl("topic", prefix + topic, False, operation) for topic in sorted(topics) for operation in read),
        *(Acl("topic", prefix + topic, False, "write") for topic in sorted(writable)),
        Acl("group", prefix + _GROUPS, True, "describe"),
        Acl("group", prefix + _OWN_GROUPS, True, "read"),
        *(Acl("transactional_id", prefix + name, True, "write") for name in _OWN_TRANSACTIONS),
    ]

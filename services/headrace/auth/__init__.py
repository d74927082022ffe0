"""Who calls the API, and what they may do: API keys, JSON Web Tokens, roles.

A credential names its tenant; nothing that a request says can change it. What is stored or cached is a digest, and errors say why a
credential was refused, never what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum


class Role(IntEnum):
    """A greater role may do all that a lesser one may."""

    VIEWER = 1  # read
    DEVELOPER = 2  # and send events, run agents
    ADMIN = 3  # and what changes the mesh for everybody

    def __str__(self) -> str:
        return self.name.lower()


MAX_OWNERS = 100  # of one credential
MAX_NAME = 128  # characters
ROLES = tuple(str(role) for role in Role)


def role_of(name: str) -> Role:
    """Raises ``KeyError`` for what is no role."""
    return Role[name.upper()] if name in ROLES else Role[""]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a credential stands for. ``id`` is the key's id or the token's ``jti``: no secret, fit for logs.

    ``owners`` are those whose workflows it may change and whose runs it may start; None: anybody's.
    """

    id: str
    tenant: str
    role: Role
    expires_at: datetime | None = None
    owners: frozenset[str] | None = None

    def speaks_for(self, name: str) -> bool:
        """Whether this credential may act in the name of an owner or user."""
        return self.owners is None or self.role >= Role.ADMIN or name in self.owners


class Refused(Exception):
    """A credential that does not count. ``reason``: malformed, unknown, expired, revoked."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"credential refused: {reason}")
        self.reason = reason


def utc_now() -> datetime:
    return datetime.now(UTC)

"""Why a guarded request gave no response.

    EgressError
    ├── EgressDenied    the policy forbids it: asking again changes nothing
    └── EgressFailed    it was allowed, and the network or the server failed (``retryable`` says whether to try again)

Texts name the host at most, never a path, a query or a body: those may hold secrets, and a model reads these texts.
"""

from __future__ import annotations

from typing import Literal

from headrace.messages.errors import HeadraceError

Reason = Literal["malformed_url", "scheme", "userinfo", "port", "domain", "private_address", "redirect", "method"]
Kind = Literal[
    "dns", "connection", "tls", "timeout", "response_too_large", "bad_response", "too_many_redirects"
]  # of these dns, connection and timeout are retryable

_RETRYABLE: frozenset[Kind] = frozenset({"dns", "connection", "timeout"})
_SHOWN = 100  # characters of a host in a text


class EgressError(HeadraceError):
    """Base of both; caught by whoever made the request."""


class EgressDenied(EgressError):
    """Forbidden by policy. ``reason`` is a stable code."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EgressFailed(EgressError):
    """Allowed, but failed. ``kind`` is a stable code."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = kind in _RETRYABLE


def shown(host: str) -> str:
    """``host`` as a text may show it."""
    return host if len(host) <= _SHOWN else host[:_SHOWN] + "..."

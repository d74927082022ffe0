"""Every error that crosses a boundary of headrace, and who catches it.

    HeadraceError
    ├── BadMessage            the record itself is wrong: dead-lettered at once, never retried
    │   ├── UndecodableMessage   not the declared format, or it breaks the declared schema
    │   ├── UnsupportedVersion   another major version of a message, refused by name
    │   └── RejectedMessage      well-formed, but it can't be worked on (unknown agent, bad input, ...)
    ├── TransientError        the same record may succeed later: retried in its lane, a bounded number of times
    │   └── DependencyUnavailable   a dependency is away: retried without a bound (intake pauses by itself)
    └── FatalError            the processor must stop: going on would lose or corrupt (bad commit metadata, ...)

The runtime catches all of these around a processor; any other exception counts as a ``TransientError`` (a bug may depend on
state), so that an unexpected failure is tried again and then dead-lettered with its cause, never a crash loop.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of all errors that headrace raises on purpose."""


class BadMessage(HeadraceError):
    """A record that no retry can help.

    ``cause`` is a short stable code for dashboards and filters (``schema``, ``json``, ``unknown_agent``), ``where`` a path
    into the message (``/alerts/0/status``) or an offset. Neither they nor the text may quote secrets or whole payloads.
    """

    cause = "bad_message"

    def __init__(self, message: str, *, cause: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause or type(self).cause
        self.where = where

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (at {self.where})" if self.where else text


class UndecodableMessage(BadMessage):
    """The bytes are not the declared format, or break the declared schema."""

    cause = "undecodable"


class UnsupportedVersion(BadMessage):
    """A message of another major version. v1.x may only add optional fields, so every 1.x is read.

    ``job_id`` and ``reply_to`` are the message's own, where they could be read: enough to answer its sender.
    """

    cause = "unsupported_version"

    def __init__(
        self, message: str, *, where: str | None = None, job_id: str | None = None, reply_to: str | None = None
    ) -> None:
        super().__init__(message, where=where)
        self.job_id = job_id
        self.reply_to = reply_to


class RejectedMessage(BadMessage):
    """A well-formed message that can't be worked on."""

    cause = "rejected"


class TransientError(HeadraceError):
    """Worth trying again. ``retry_after`` (seconds) is a floor for the next attempt, such as a server's Retry-After."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DependencyUnavailable(TransientError):
    """Postgres, the registry or a blob store is away: no record is to blame, so no record is dead-lettered for it."""


class FatalError(HeadraceError):
    """The processor stops with this text; an operator has to look."""

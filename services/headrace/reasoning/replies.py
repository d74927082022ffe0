"""Results where callers asked for them, and what is said of jobs that can't be read as jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from headrace.messages.errors import BadMessage, UnsupportedVersion
from headrace.messages.headers import REPLY_TO
from headrace.messages.job import Job
from headrace.messages.result import AgentResult, ResultError
from headrace.observe.logging import get_logger
from headrace.reasoning.results import rfc3339
from headrace.runtime.api import Context, Send

log = get_logger(__name__)

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_JOB_ID: Final = range(1, 129)  # characters, as the contract has it


def sends(result: AgentResult, reply_to: str | None, allowed: Sequence[str]) -> list[Send]:
    """The result, and once more where the caller asked for it, if that is a topic for it."""
    if reply_to is None:
        return [Send(result)]
    if _TOPIC.fullmatch(reply_to) and any(fnmatchcase(reply_to, pattern) for pattern in allowed):
        return [Send(result), Send(result, topic=reply_to)]
    log.warning("reply_ignored", run_id=result.job_id, reply_to=reply_to, allowed=list(allowed))
    return [Send(result)]


def unsupported(error: BadMessage, context: Context) -> tuple[AgentResult, str | None] | None:
    """Of a job of another major version: the result that says so, and where else it is wanted. None if it named no job."""
    named = isinstance(error, UnsupportedVersion) and error.job_id is not None and len(error.job_id) in _JOB_ID
    if not named or context.source.topic != Job.TOPIC:
        return None
    assert isinstance(error, UnsupportedVersion)
    assert error.job_id is not None
    result = AgentResult(
        job_id=error.job_id,
        status="failed",
        error=ResultError(type=error.cause, message=str(error)),
        completed_at=rfc3339(context.timestamp_ms),
        completed_ms=context.timestamp_ms,
    )
    return result, error.reply_to or context.headers.get(REPLY_TO)

"""Errors of a run that come from outside of the machine, as results carry them: a stable type, bounded text, no
secrets.
"""

from __future__ import annotations

from headrace.messages.result import ResultError
from headrace.models import ModelError
from headrace.observe.logging import redact_text

_MAX_TEXT = 1_000


def model_error(error: ModelError) -> ResultError:
    """``model_error``; the message begins with the error's kind, such as ``rate_limited``."""
    text = redact_text(f"{error.kind}: {error}")[:_MAX_TEXT]
    return ResultError(type="model_error", message=text, retryable=error.retryable)


def definition_changed(name: str, version: str) -> ResultError:
    """A version is immutable, so somebody wrote it anew while the run was under way."""
    return ResultError(
        type="definition_changed", message=f"agent {name}@{version} is not the one that this run began with"
    )

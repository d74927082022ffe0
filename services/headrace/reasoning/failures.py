"""Errors of a run that come from outside of the machine, as results carry them: a stable type, bounded text, no
secrets.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from headrace.messages.result import ResultError
from headrace.messages.run import Entry
from headrace.models import ModelError
from headrace.observe.logging import redact_text

_MAX_TEXT = 1_000
_USED_UP = frozenset({"limit_steps", "limit_tokens", "limit_cost", "timeout"})


def model_error(error: ModelError) -> ResultError:
    """``model_error``; the message begins with the error's kind, such as ``rate_limited``."""
    text = redact_text(f"{error.kind}: {error}")[:_MAX_TEXT]
    return ResultError(type="model_error", message=text, retryable=error.retryable)


def blamed(error: ResultError, entries: Sequence[Entry]) -> ResultError:
    """``error`` of a run that used up what it may, with the tool whose call failed last, if that was the run's last word."""
    last = next((entry for entry in reversed(entries) if entry.role == "tool"), None)
    if error.type not in _USED_UP or last is None or not last.is_error:
        return error
    told = orjson.loads(last.content or "{}").get("error", {})
    return error.replace(tool=last.tool, step=told.get("step"))


def definition_changed(name: str, version: str) -> ResultError:
    """A version is immutable, so somebody wrote it anew while the run was under way."""
    return ResultError(
        type="definition_changed", message=f"agent {name}@{version} is not the one that this run began with"
    )

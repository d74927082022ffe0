"""What a failed attempt means: from HTTP status, headers and error body to a kind, a clean message and Retry-After.

Both providers fail alike: a status, ``{"error": {"message", "type", "code"}}``, and Retry-After in one of three forms. Messages are
cut and cleaned, since a provider may quote the key it refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from headrace.models.retry import AttemptFailed
from headrace.observe.logging import MASK, redact_text

_MAX_MESSAGE: Final = 300
_BY_STATUS: Final = {
    401: "authentication",
    402: "authentication",  # the account can't pay: like a bad key, only its owner can help
    403: "authentication",
    404: "not_found",
    408: "timeout",
    413: "context_length",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_BY_CODE: Final = {
    "context_length_exceeded": "context_length",
    "insufficient_quota": "authentication",  # comes as 429, but waiting does not pay the bill
    "overloaded_error": "overloaded",
}
_TOO_LONG: Final = ("prompt is too long", "maximum context length", "context window")


def from_status(
    status: int, headers: Mapping[str, str], body: Any, *, secret: str, now: Callable[[], float] = time.time
) -> AttemptFailed:
    """The failure that an HTTP error answer stands for. ``body`` is the decoded JSON body, or anything else."""
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {"message": error}
    message = error.get("message")
    text = clean(message if isinstance(message, str) else "no reason given", secret)
    return AttemptFailed(
        f"HTTP {status}: {text}",
        _kind(status, error, text),
        status=status,
        retry_after=retry_after(headers, now()),
    )


def _kind(status: int, error: dict[str, Any], text: str) -> str:
    for code in (error.get("code"), error.get("type")):
        if isinstance(code, str) and code in _BY_CODE:
            return _BY_CODE[code]
    if status == 400 and any(phrase in text.lower() for phrase in _TOO_LONG):
        return "context_length"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 400:
        return "bad_response"  # a redirect that leads nowhere
    return "server_error" if status >= 500 else "bad_request"


def clean(text: str, secret: str) -> str:
    """``text`` cut to a line, with the key and everything that looks like one masked."""
    if secret:
        text = text.replace(secret, MASK)
    return " ".join(redact_text(text).split())[:_MAX_MESSAGE]


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as an HTTP date (RFC 9110, 10.2.3). None if unusable.

    ``headers`` must look names up case-insensitively or hold lower-case names; ``now`` is epoch seconds.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None

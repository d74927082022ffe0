"""What another's HTTP server said, before a model may read it: without the caller's secrets, and a refusal as a failure."""

from __future__ import annotations

import contextlib
from typing import Final

import orjson

from headrace.egress import EgressError, EgressFailed, GuardedResponse
from headrace.messages import strict_json
from headrace.messages.errors import BadMessage
from headrace.tools.api import ToolFailure
from headrace.tools.credentials import Proof

IDEMPOTENCY_KEY: Final = "idempotency-key"
_RETRYABLE_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAID: Final = 400  # characters of what an error answer says


def without_secrets(data: bytes, proof: Proof) -> bytes:
    """``data`` with the secrets struck out, those that JSON's ``\\u`` escapes hide too."""
    struck = proof.struck_out(data)
    if proof.secrets and b"\\u" in struck:
        with contextlib.suppress(BadMessage):
            plain = orjson.dumps(strict_json.loads(struck))
            again = proof.struck_out(plain)
            return struck if again == plain else again
    return struck


def refused(answer: GuardedResponse, data: bytes) -> ToolFailure | None:
    """The failure that ``answer`` is, with the beginning of ``data``, its body without secrets, since that mostly says what to do
    about it. None for a status of success.
    """
    if 200 <= answer.status < 300:
        return None
    said = " ".join(data[: _SAID * 4].decode(errors="replace").split())[:_SAID]
    text = f"{answer.host} answered with HTTP status {answer.status}" + (f": {said}" if said else "")
    return ToolFailure("http_status", text, retryable=answer.status in _RETRYABLE_STATUS)


def not_sent(error: EgressError) -> ToolFailure:
    """The failure of a request that was denied, or got no answer."""
    if isinstance(error, EgressFailed):
        return ToolFailure(f"http_{error.kind}", str(error), retryable=error.retryable)
    return ToolFailure("egress_denied", str(error))

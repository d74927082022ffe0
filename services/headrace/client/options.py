"""What both clients decide in the same way."""

from __future__ import annotations

import os
from typing import Any, Final

from headrace.client.calls import LONGEST_WAIT_S
from headrace.client.errors import InvalidCredential
from headrace.client.models import Ended, Run

URL_VARIABLE: Final = "HEADRACE_GATEWAY_URL"
TOKEN_VARIABLE: Final = "HEADRACE_API_KEY"  # noqa: S105 - the name of a variable
DEFAULT_URL: Final = "http://127.0.0.1:8080"
ATTEMPTS: Final = 5  # connections of a stream, in a row, that bring nothing
_LEAST_WAIT_S: Final = 0.05


def url_of(url: str | None) -> str:
    return url or os.environ.get(URL_VARIABLE) or DEFAULT_URL


def headers_of(token: str | None) -> dict[str, str]:
    """The credential, by default that of ``HEADRACE_API_KEY``, as a request shows it. Raises ``InvalidCredential``."""
    token = (os.environ.get(TOKEN_VARIABLE, "") if token is None else token).strip()
    if not token.isascii() or not token.isprintable():
        raise InvalidCredential("the credential is no API key and no token")
    return {"Authorization": f"Bearer {token}"} if token else {}


def next_wait(left_s: float) -> float:
    """How long the next request waits, of the time that is left."""
    return max(_LEAST_WAIT_S, min(left_s, LONGEST_WAIT_S))


def pause_s(failures: int) -> float:
    """Before a stream is taken up again."""
    return min(0.1 * 2.0**failures, 2.0)


def ended(run: Run, output: Any) -> Ended:
    state: Any = run.state
    return Ended(run_id=run.run_id, state=state, output=output, error=run.error)

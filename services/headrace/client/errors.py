"""What can go wrong, as types:

HeadraceError
├── InvalidCredential      what was given can be no API key and no token
├── Unreachable            no answer: connection refused, broken, timed out
├── WaitTimedOut           the run goes on; ``run_id`` says which
├── RunFailed              the run ended without an answer: ``type`` says why (``timeout``, ``model_error``, ``cancelled``, ...)
└── ApiError               the gateway refused: ``status``, ``code``, ``message``, ``where``
    ├── InvalidRequest     400, 413, 415, 422: send something else
    ├── NotAllowed         401, 403: other credentials
    ├── NotFound           404
    ├── Conflict           409: a key that was used otherwise, a run that has ended, an agent that is busy
    └── Unavailable        429, 502, 503, 504: the same again later; ``retry_after_s`` says when, if the gateway does
"""

from __future__ import annotations

from typing import Any, Final

import httpx2


class HeadraceError(Exception):
    """Everything that this package raises on purpose."""


class InvalidCredential(HeadraceError, ValueError):
    """Not even sent. Its text does not quote it."""


class Unreachable(HeadraceError):
    """The gateway gave no answer. Whether it took the request is unknown: give an idempotency key, and ask again."""


class WaitTimedOut(HeadraceError):
    def __init__(self, run_id: str, seconds: float) -> None:
        super().__init__(f"run {run_id} has not ended within {seconds:g} s; it goes on")
        self.run_id = run_id


class RunFailed(HeadraceError):
    def __init__(self, run_id: str, type_: str, message: str, *, retryable: bool) -> None:
        super().__init__(f"run {run_id} failed: {type_}: {message}")
        self.run_id = run_id
        self.type = type_
        self.retryable = retryable


class ApiError(HeadraceError):
    def __init__(self, status: int, code: str, message: str, where: str | None, retry_after_s: float | None) -> None:
        super().__init__(f"{status} {code}: {message}" + (f" ({where})" if where else ""))
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after_s = retry_after_s


class InvalidRequest(ApiError):
    pass


class NotAllowed(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Unavailable(ApiError):
    pass


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    **dict.fromkeys((401, 403), NotAllowed),
    404: NotFound,
    409: Conflict,
    **dict.fromkeys((429, 502, 503, 504), Unavailable),
}


def api_error(response: httpx2.Response) -> ApiError:
    """The error of a refusal, in either of the API's shapes; also of something in between that answers in its own."""
    try:
        document: Any = response.json()
    except ValueError:
        document = None
    document = document if isinstance(document, dict) else {}
    told = document.get("error")
    error = told if isinstance(told, dict) else {"message": document.get("detail")}
    message = str(error.get("message") or response.reason_phrase)
    kind = _BY_STATUS.get(response.status_code, ApiError)
    after = response.headers.get("retry-after", "")
    seconds = float(after) if after.isascii() and after.isdigit() else None
    return kind(response.status_code, str(error.get("code") or "http"), message, error.get("where"), seconds)

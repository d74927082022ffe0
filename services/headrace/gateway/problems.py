"""Every refusal of the gateway, and its one shape: ``{"error": {"code", "message", "where"?}}``.

Texts name what is wrong and where, never what was sent; a 5xx says nothing about the inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from headrace.blobs import BlobNotFound
from headrace.messages.errors import BadMessage, DependencyUnavailable, HeadraceError, TransientError

RETRY_AFTER_S: Final = 5
JSON: Final = "application/json"


class HttpError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        where: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.headers = dict(headers or {})

    @property
    def placed(self) -> str:
        """The message with its place, for answers that have no field for that."""
        return f"{self.message} (at {self.where})" if self.where else self.message


def error_body(code: str, message: str, where: str | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if where:
        error["where"] = where
    return orjson.dumps({"error": error})


def error_response(error: HttpError) -> Response:
    body = error_body(error.code, error.message, error.where)
    return Response(body, error.status, error.headers, media_type=JSON)


def unavailable(what: str) -> HttpError:
    """503 that a sender retries. ``what`` names the dependency in general terms."""
    return HttpError(
        503, "unavailable", f"{what} is unavailable; try again", headers={"Retry-After": str(RETRY_AFTER_S)}
    )


def from_headrace(error: HeadraceError) -> HttpError:
    """The answer for an error of the mesh that reached the edge."""
    if isinstance(error, BlobNotFound):
        return HttpError(404, error.cause, "no such content, or its retention has passed")
    if isinstance(error, BadMessage):
        return bad_request(error)
    if isinstance(error, DependencyUnavailable | TransientError):
        return unavailable("a dependency")
    return internal_error()


def bad_request(error: BadMessage, *, status: int = 400) -> HttpError:
    return HttpError(status, error.cause, error.args[0] if error.args else "bad request", where=error.where)


def internal_error() -> HttpError:
    return HttpError(500, "internal", "the gateway failed; the request id names the log line")

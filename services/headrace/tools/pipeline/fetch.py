"""Where rows come from: ``http_request {url, method, params}``, or a JSON blob.

``url`` may lack its scheme: https then. ``params`` are the query of a GET (text, numbers, booleans, and lists of
them), the JSON body of a POST. A POST carries the call's idempotency key, so that a repeated delivery is one effect
at a server that honours it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from headrace.blobs import BlobStore
from headrace.egress import EgressDenied, EgressFailed, GuardedClient, GuardedResponse
from headrace.messages.base import JsonObject
from headrace.messages.errors import BadMessage
from headrace.tools.api import ToolContext
from headrace.tools.pipeline.document import parsed
from headrace.tools.pipeline.freshness import fresh_for
from headrace.tools.pipeline.rows import StepError, bad_argument

IDEMPOTENCY_KEY: Final = "idempotency-key"
_RETRYABLE_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_IN_THREAD: Final = 100_000  # bytes of JSON past which parsing leaves the event loop


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A checked ``http_request`` step."""

    url: str = field(repr=False)
    method: str
    params: JsonObject = field(repr=False)


class Fetched(NamedTuple):
    """A JSON document, and for how many seconds its server says that it may be given again (None: it says nothing)."""

    document: Any
    fresh_s: float | None = None


def http_request(arguments: JsonObject) -> HttpRequest:
    url = str(arguments["url"]).strip()
    method = str(arguments.get("method", "GET"))
    params = {
        name: value for name, value in arguments.get("params", {}).items() if method == "POST" or value is not None
    }
    if method == "GET":
        for name, value in params.items():
            if not all(isinstance(item, str | int | float) for item in (value if isinstance(value, list) else [value])):
                raise bad_argument(f"params.{name[:64]} must be text, a number, a boolean or a list of these for a GET")
    return HttpRequest(url if "://" in url else f"https://{url}", method, params)


async def fetch(client: GuardedClient, request: HttpRequest, context: ToolContext) -> Fetched:
    """What the server answers with; a document of None for an empty answer. Raises ``StepError``."""
    post = request.method == "POST"
    try:
        response = await client.request(
            request.method,
            request.url,
            domains=context.domains,
            params=None if post else request.params,
            json=request.params if post else None,
            headers={IDEMPOTENCY_KEY: context.idempotency_key} if post else None,
            timeout_s=context.remaining_s,
        )
    except EgressDenied as error:
        raise StepError(str(error), type_="egress_denied") from None
    except EgressFailed as error:
        raise StepError(str(error), type_=f"http_{error.kind}", retryable=error.retryable) from None
    return Fetched(await _document(response), fresh_for(response.headers))


async def load(blobs: BlobStore, ref: str, name: str = "input_ref") -> Any:
    """The JSON document that a ``cas://`` reference names; ``name`` is what the caller calls it. Raises ``StepError``,
    ``DependencyUnavailable``.
    """
    try:
        data = await blobs.get(ref)
    except BadMessage as error:
        raise bad_argument(f"{name}: {error.args[0]}") from None
    return await _parsed(data, name)


async def _document(response: GuardedResponse) -> Any:
    status = response.status
    if not 200 <= status < 300:
        retryable = status in _RETRYABLE_STATUS
        raise StepError(f"{response.host} answered with HTTP status {status}", type_="http_status", retryable=retryable)
    return await _parsed(response.body, f"the answer of {response.host}") if response.body.strip() else None


async def _parsed(data: bytes, what: str) -> Any:
    try:
        if len(data) <= _IN_THREAD:
            return parsed(data)
        return await asyncio.to_thread(parsed, data)
    except BadMessage as error:
        raise StepError(f"{what} can't be read: {error}", type_="bad_json") from None

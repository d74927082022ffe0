"""``POST /webhooks/{source}``: verify, bound, make durable, answer 202. The hot path: nothing here that the check does not need.

The order of checks is fixed: who the sender is (404, 403), how much it sends (413), that it is the sender (401), and only then what
it says (415, 400), and how often (429 or 503). The record is the body as it was signed, with the few headers that the source's
normaliser needs. A handshake that the source is set up for is answered instead, and leaves no record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.body import header_map, is_json, media_type, parse_json, read_body
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.publishing import publish
from headrace.gateway.sources.handshakes import Reply, pointed
from headrace.gateway.sources.load import WebhookSource
from headrace.gateway.sources.model import FORM, SourceConfig
from headrace.gateway.sources.verify import Incoming
from headrace.messages.event import HTTP_HEADERS, WEBHOOK_TYPE, RawDelivery
from headrace.messages.headers import trace_context
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)
_MAX_NAME: Final = 256


class Webhooks:
    """The endpoint."""

    def __init__(self, deps: Deps, limits: RateLimits) -> None:
        self._deps = deps
        self._limits = limits
        self._limit = deps.settings.gateway_max_body_bytes

    async def handle(self, request: Request) -> Response:
        source = known_source(self._deps, request.path_params["source"])
        headers = header_map(request.scope)
        body = await read_body(request, headers, self._limit)
        query = request.scope["query_string"].decode("latin-1")
        await _authenticate(source, Incoming(headers, body, self._deps.now().timestamp(), query))
        value = _content(source.config, headers.get("content-type", ""), body)
        if reply := await _handshake(source, value):
            return answer(reply)
        delivery = self._delivery(source.config, headers, body, value)
        self._limits.delivery(source.config)
        await publish(self._deps, [Send(delivery)], within_s=source.config.answer_within_s)
        return Response(orjson.dumps({"delivery_id": delivery.key}), 202, media_type=JSON)

    def _delivery(self, config: SourceConfig, headers: Mapping[str, str], body: bytes, value: Any) -> RawDelivery:
        if config.event_type.header:
            _required(headers, config.event_type.header)
        delivery_id = _delivery_id(config, headers, value) or _digest_id(config, headers, body)
        forwarded = {name: headers[name] for name in config.headers if name in headers}
        record = {
            "ce_specversion": "1.0",
            "ce_id": delivery_id,
            "ce_source": f"/webhooks/{config.name}",
            "ce_type": WEBHOOK_TYPE,
            "ce_time": self._deps.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ce_tenant": self._deps.tenant,
            "content-type": headers.get("content-type", JSON),
            HTTP_HEADERS: orjson.dumps(forwarded).decode(),
        }
        return RawDelivery(body=body, headers=record | trace_context(headers), key=delivery_id)


def known_source(deps: Deps, name: str) -> WebhookSource:
    """The source of that name. Raises ``HttpError`` where there is none (404), or an operator has not configured it (403)."""
    source = deps.sources.get(name)
    if source is None:
        raise HttpError(404, "unknown_source", "no such webhook source")
    if source.verifier is None:
        log.warning("webhook_refused", source=name, reason="not_configured", remedy=source.refusal)
        raise HttpError(403, "source_not_configured", source.refusal)
    return source


def answer(reply: Reply) -> Response:
    """A handshake's reply as HTTP."""
    return Response(reply.body, 200, dict(reply.headers), media_type=reply.media_type)


async def _authenticate(source: WebhookSource, delivery: Incoming) -> None:
    if source.verifier is None or not await source.verifier.verify(delivery):
        log.warning("webhook_refused", source=source.config.name, reason="not_authentic")
        raise HttpError(401, "not_authentic", "the signature or credential is missing or wrong")


async def _handshake(source: WebhookSource, value: Any) -> Reply | None:
    for handshake in source.handshakes.posts:
        if reply := await handshake.answer(value):
            log.info("webhook_handshake", source=source.config.name)
            return reply
    return None


def _content(config: SourceConfig, content_type: str, body: bytes) -> Any:
    """The JSON value of ``body``; None for a form, which is kept as it is."""
    media = media_type(content_type)
    if media == FORM and "form" in config.content:
        return None
    if not is_json(content_type) and not (media == "text/plain" and "text" in config.content):
        message = "the content type must be application/json"
        if config.hint and media == FORM:
            message = f"{message}: {config.hint}"
        raise HttpError(415, "content_type", message, where="content-type")
    return parse_json(body)


def _delivery_id(config: SourceConfig, headers: Mapping[str, str], value: Any) -> str | None:
    """The sender's name for the delivery; None where it gives none and need not."""
    rule = config.delivery_id
    if rule.body:
        found = pointed(value, rule.body)
        given = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
        if rule.required and not _is_name(given):
            raise HttpError(400, "delivery_id", "an id that this source always sends is missing", where=rule.body)
        return given if _is_name(given) else None
    name = next((name for name in rule.header if headers.get(name)), None)
    if name is None and (not rule.header or not rule.required):
        return None
    return _required(headers, name or rule.header[0])


def _required(headers: Mapping[str, str], name: str) -> str:
    """A header that must be there: 1-256 printable ASCII characters, without spaces."""
    value = headers.get(name, "")
    if not value:
        raise HttpError(400, "missing_header", "a header that this source always sends is missing", where=name)
    if not _is_name(value):
        raise HttpError(400, "bad_header", "not a printable name of at most 256 characters", where=name)
    return value


def _is_name(value: str) -> bool:
    return 0 < len(value) <= _MAX_NAME and value.isascii() and value.isprintable() and " " not in value


def _digest_id(config: SourceConfig, headers: Mapping[str, str], body: bytes) -> str:
    """Id of a delivery whose sender gives none: the same bytes are the same delivery. Never change its form."""
    more = "".join(f"{headers.get(name, '')}\0" for name in config.delivery_id.digest_with)
    return f"sha256:{hashlib.sha256(config.name.encode() + bytes(1) + more.encode() + body).hexdigest()}"

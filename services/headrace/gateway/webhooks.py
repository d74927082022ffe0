"""``POST /webhooks/{source}``: verify, bound, make durable, answer 202. The hot path: nothing here that the check does not need.

The order of checks is fixed: who the sender is (404, 403), how much it sends (413), that it is the sender (401), and only then what
it says (415, 400). The record is the body as it was signed, with the few headers that the source's normaliser needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.body import header_map, is_json, media_type, parse_json, read_body
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.publishing import publish
from headrace.gateway.sources.load import WebhookSource
from headrace.gateway.sources.model import SourceConfig
from headrace.messages.event import HTTP_HEADERS, WEBHOOK_TYPE, RawDelivery
from headrace.messages.headers import trace_context
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)
_MAX_HEADER: Final = 256


class Webhooks:
    """The endpoint."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._limit = deps.settings.gateway_max_body_bytes

    async def handle(self, request: Request) -> Response:
        source = self._source(request.path_params["source"])
        headers = header_map(request.scope)
        body = await read_body(request, headers, self._limit)
        _authenticate(source, headers, body)
        _check_content(source.config, headers.get("content-type", ""), body)
        delivery = self._delivery(source.config, headers, body)
        await publish(self._deps, [Send(delivery)])
        return Response(orjson.dumps({"delivery_id": delivery.key}), 202, media_type=JSON)

    def _source(self, name: str) -> WebhookSource:
        source = self._deps.sources.get(name)
        if source is None:
            raise HttpError(404, "unknown_source", "no such webhook source")
        if source.verifier is None:
            log.warning("webhook_refused", source=name, reason="not_configured", remedy=source.refusal)
            raise HttpError(403, "source_not_configured", source.refusal)
        return source

    def _delivery(self, config: SourceConfig, headers: Mapping[str, str], body: bytes) -> RawDelivery:
        if config.event_type.header:
            _required(headers, config.event_type.header)
        delivery_id = (
            _required(headers, config.delivery_id.header)
            if config.delivery_id.header
            else _digest_id(config.name, body)
        )
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


def _authenticate(source: WebhookSource, headers: Mapping[str, str], body: bytes) -> None:
    if source.verifier is None or not source.verifier.verify(headers, body):
        log.warning("webhook_refused", source=source.config.name, reason="not_authentic")
        raise HttpError(401, "not_authentic", "the signature or credential is missing or wrong")


def _check_content(config: SourceConfig, content_type: str, body: bytes) -> None:
    if not is_json(content_type):
        message = "the content type must be application/json"
        if config.hint and media_type(content_type) == "application/x-www-form-urlencoded":
            message = f"{message}: {config.hint}"
        raise HttpError(415, "content_type", message, where="content-type")
    parse_json(body)


def _required(headers: Mapping[str, str], name: str) -> str:
    """A header that must be there: 1-256 printable ASCII characters, without spaces."""
    value = headers.get(name, "")
    if not value:
        raise HttpError(400, "missing_header", "a header that this source always sends is missing", where=name)
    if len(value) > _MAX_HEADER or not value.isascii() or not value.isprintable() or " " in value:
        raise HttpError(400, "bad_header", "not a printable name of at most 256 characters", where=name)
    return value


def _digest_id(source: str, body: bytes) -> str:
    """Id of a delivery whose sender gives none: the same bytes are the same delivery. Never change its form."""
    return f"sha256:{hashlib.sha256(source.encode() + bytes(1) + body).hexdigest()}"

"""``POST /events``: CloudEvents in any content mode, and the plain envelope. All events of a request, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway import cloudevent
from headrace.gateway.body import header_map, parse_json, read_body
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.publishing import publish
from headrace.messages.codec import explained
from headrace.messages.event import Envelope, RawDelivery
from headrace.messages.headers import trace_context
from headrace.runtime.api import Send


class Events:
    """The endpoint."""

    def __init__(self, deps: Deps, limits: RateLimits) -> None:
        self._deps = deps
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        mode = cloudevent.mode(headers)
        body = await read_body(request, headers, self._deps.settings.gateway_max_body_bytes)
        deliveries, ids = self._read(mode, headers, body)
        if deliveries:
            self._limits.request(len(deliveries))
            extra = trace_context(headers)
            await publish(self._deps, [Send(delivery, headers=extra) for delivery in deliveries])
        return Response(orjson.dumps({"accepted": len(deliveries), "ids": ids}), 202, media_type=JSON)

    def _read(self, mode: str, headers: Mapping[str, str], body: bytes) -> tuple[list[RawDelivery], list[str | None]]:
        tenant = self._deps.tenant
        if mode == "binary":
            delivery = cloudevent.binary(headers, body, tenant)
            return [delivery], [delivery.headers["ce_id"]]
        if mode == "batch":
            deliveries = cloudevent.batch(body, tenant, self._deps.settings.gateway_max_batch)
            return deliveries, [event["id"] for event in orjson.loads(body)]
        value = parse_json(body)
        if mode == "structured" or (isinstance(value, dict) and "specversion" in value):
            return [cloudevent.structured(body, tenant)], [value["id"] if isinstance(value, dict) else None]
        envelope = _envelope(value)
        return [_envelope_delivery(envelope, body, tenant)], [envelope.id]


def _envelope(value: Any) -> Envelope:
    try:
        return Envelope.checked(value)
    except msgspec.ValidationError as error:
        text, where = explained(error)
        raise HttpError(422, "envelope", text, where=where) from None


def _envelope_delivery(envelope: Envelope, body: bytes, tenant: str) -> RawDelivery:
    headers = {"content-type": JSON, "ce_tenant": tenant}
    return RawDelivery(body=body, headers=headers, key=envelope.partition_key or envelope.id)

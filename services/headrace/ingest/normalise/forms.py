"""What a raw record is: the first of these that fits.

    record headers                                         form
    ce_type is the gateway's webhook type                  webhook of the sender that ce_source names
    content-type application/cloudevents+json              CloudEvent, structured
    ce_specversion or ce_type                              CloudEvent, binary
    none of these, a JSON object with specversion          CloudEvent, structured
    none of these                                          envelope

The tenant is the header ``ce_tenant`` where there is one (the gateway sets it from who called), else what an envelope says, else
the default of this mesh. A body cannot override the header.
"""

from __future__ import annotations

from typing import Any, Final

from headrace.ingest.normalise import cloudevents, envelope
from headrace.ingest.normalise.content import media_type
from headrace.ingest.normalise.delivery import MAX_ID, MAX_SOURCE, MAX_TENANT, Delivery, name
from headrace.messages import headers as names
from headrace.messages.errors import RejectedMessage, UndecodableMessage
from headrace.messages.event import HTTP_HEADERS, WEBHOOK_TYPE, RawDelivery
from headrace.messages.json_check import check
from headrace.runtime.api import Context

_STRUCTURED: Final = "application/cloudevents+json"


def open_delivery(raw: RawDelivery, context: Context, default_tenant: str) -> Delivery:
    """Decide the form of a record and name it. Raises ``RejectedMessage`` or ``UndecodableMessage``, both with where."""
    headers, media = raw.headers, media_type(raw.headers.get(names.CONTENT_TYPE, ""))
    tenant = headers.get(names.TENANT) or default_tenant
    if headers.get("ce_type") == WEBHOOK_TYPE:
        return _webhook(raw, context, tenant)
    if media == _STRUCTURED:
        return _cloudevent(raw, context, tenant, cloudevents.from_structured(_json(raw.body)))
    if media.startswith("application/cloudevents"):
        raise RejectedMessage("one JSON CloudEvent a record, please", cause="content_type", where="header content-type")
    if "ce_specversion" in headers or "ce_type" in headers:
        return _cloudevent(raw, context, tenant, cloudevents.from_binary(headers, raw.body))
    value = _json(raw.body)
    if isinstance(value, dict) and "specversion" in value:
        return _cloudevent(raw, context, tenant, cloudevents.from_structured(value))
    return _envelope(raw, context, headers.get(names.TENANT), default_tenant, value)


def _webhook(raw: RawDelivery, context: Context, tenant: str) -> Delivery:
    headers = raw.headers
    delivery_id = headers.get(names.ID)
    return Delivery(
        form="webhook",
        source=name(headers.get("ce_source", ""), "header ce_source", MAX_SOURCE),
        id=name(delivery_id, "header ce_id", MAX_ID) if delivery_id else None,
        tenant=name(tenant, "header ce_tenant", MAX_TENANT),
        written_ms=context.timestamp_ms,
        ce_time=headers.get("ce_time"),
        position=context.source,
        place=context.position,
        body=raw.body,
        content_type=headers.get(names.CONTENT_TYPE, "").lower(),
        http_headers=_http_headers(headers.get(HTTP_HEADERS)),
    )


def _cloudevent(raw: RawDelivery, context: Context, tenant: str, parts: cloudevents.Parts) -> Delivery:
    return Delivery(
        form="cloudevent",
        source=name(parts.attributes["source"], "source", MAX_SOURCE),
        id=name(parts.attributes["id"], "id", MAX_ID),
        tenant=name(tenant, "header ce_tenant", MAX_TENANT),
        written_ms=context.timestamp_ms,
        position=context.source,
        place=context.position,
        body=raw.body,
        content=parts,
    )


def _envelope(
    raw: RawDelivery, context: Context, header_tenant: str | None, default_tenant: str, value: Any
) -> Delivery:
    content = envelope.parse(value)
    return Delivery(
        form="envelope",
        source=name(content.source, "source", MAX_SOURCE),
        id=name(content.id, "id", MAX_ID) if content.id else None,
        tenant=name(header_tenant or content.tenant or default_tenant, "tenant", MAX_TENANT),
        written_ms=context.timestamp_ms,
        ce_time=raw.headers.get("ce_time"),
        position=context.source,
        place=context.position,
        body=raw.body,
        content=content,
    )


def _json(body: bytes) -> Any:
    if not body:
        raise UndecodableMessage("empty record", cause="empty_body", where="byte 0")
    return check(body)


def _http_headers(text: str | None) -> dict[str, str]:
    value = check(text.encode()) if text else {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise RejectedMessage("not an object of texts", cause="http_headers", where=f"header {HTTP_HEADERS}")
    return {key.lower(): item for key, item in value.items()}

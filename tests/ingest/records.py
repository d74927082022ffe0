"""Raw records as the gateway or a producer writes them, and a processor to give them to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from headrace.claims.memory import MemoryClaims
from headrace.ingest.processor import IngestProcessor
from headrace.ingest.settings import IngestSettings
from headrace.messages.agent import AgentDefinition, Trigger
from headrace.messages.event import Event, RawDelivery
from headrace.messages.job import Job
from headrace.registry.catalog import Catalog, catalog_of
from headrace.runtime.api import Context, Send, Source

RECEIVED = "2026-03-02T11:00:00Z"


def webhook(
    source: str, body: Any, *, delivery_id: str | None = "d-1", http: Mapping[str, str] | None = None, **headers: str
) -> RawDelivery:
    record = {
        "ce_specversion": "1.0",
        "ce_source": f"/webhooks/{source}",
        "ce_type": "dev.headrace.webhook.received",
        "ce_time": RECEIVED,
        "ce_tenant": "default",
        "content-type": "application/json",
        "http-headers": orjson.dumps(dict(http or {})).decode(),
        **headers,
    }
    if delivery_id is not None:
        record["ce_id"] = delivery_id
    return RawDelivery(body=body if isinstance(body, bytes) else orjson.dumps(body), headers=record, key=delivery_id)


def github(event: str, body: Any, *, delivery_id: str = "gh-1", **headers: str) -> RawDelivery:
    http = {"x-github-event": event, "x-github-delivery": delivery_id}
    return webhook("github", body, delivery_id=delivery_id, http=http, **headers)


def plain(value: Any, **headers: str) -> RawDelivery:
    return RawDelivery(body=value if isinstance(value, bytes) else orjson.dumps(value), headers=headers)


def at(offset: int = 0, *, partition: int = 0, timestamp_ms: int = 1_772_449_200_000) -> Context:
    return Context(Source("ingest.raw", partition, offset), {}, timestamp_ms)


def agent(name: str, *triggers: Trigger, version: str = "1.0.0", timeout_s: float = 300) -> AgentDefinition:
    return AgentDefinition.checked(
        {
            "name": name,
            "version": version,
            "category": "test",
            "description": "test",
            "system_prompt": "test",
            "triggers": [trigger.plain() for trigger in triggers],
            "limits": {"timeout_s": timeout_s},
        }
    )


def processor(
    *agents: AgentDefinition,
    claims: MemoryClaims | None = None,
    catalog: Catalog | None = None,
    max_fan_out: int = 1000,
) -> IngestProcessor:
    return IngestProcessor(
        claims or MemoryClaims(),
        catalog or catalog_of(list(agents)),
        tenant="default",
        settings=IngestSettings(max_fan_out=max_fan_out),
    )


def events(sends: Any) -> list[Event]:
    return [send.message for send in sends if isinstance(send.message, Event)]


def jobs(sends: Any) -> list[Job]:
    return [send.message for send in sends if isinstance(send.message, Job)]


def headers(sends: list[Send]) -> list[Mapping[str, str]]:
    return [send.headers for send in sends]

"""Grafana's unified alerting: a group of alerts as Alertmanager has it, and each alert an event of its own.

Since version 12 a user may write the payload. One without the list ``alerts`` is an event of the type
``com.grafana.notification``, whole; one with it must hold alerts.
"""

from __future__ import annotations

from typing import Any, Final

from headrace.ingest.normalise import alertmanager
from headrace.ingest.normalise.declared.values import as_text
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.messages.errors import RejectedMessage

_GROUP: Final = (*alertmanager.GROUP, "orgId", "title", "state", "message")


def normalise(delivery: Delivery) -> list[Draft]:
    """One draft an alert, each once. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    body = delivery.json()
    if not isinstance(body, dict):
        raise RejectedMessage("the body is not an object", cause="grafana_body", where="/")
    source = _source(body) or delivery.source
    if "alerts" not in body:
        return [_notification(delivery, source, body)]
    if not isinstance(alerts := body["alerts"], list) or not alerts:
        raise RejectedMessage("no alerts in the notification", cause="grafana_body", where="/alerts")
    group = {key: body[key] for key in _GROUP if key in body}
    return alertmanager.drafts_of(
        alerts, group, delivery, source=source, type_="com.grafana.alert", cause="grafana_body"
    )


def _source(body: dict[str, Any]) -> str | None:
    """The address of the Grafana and the organisation in it, which share no alerts."""
    address, organisation = as_text(body.get("externalURL")), as_text(body.get("orgId"))
    return f"{address}?orgId={organisation}" if address and organisation else address


def _notification(delivery: Delivery, source: str, body: dict[str, Any]) -> Draft:
    return Draft(
        id=delivery.fallback_id(),
        source=source,
        type="com.grafana.notification",
        subject=as_text(body.get("title")),
        time=delivery.received,
        data=body,
    )

"""Prometheus Alertmanager: one notification is a group of alerts, and each alert is an event of its own.

The event's id names the alert in one state (group, fingerprint, status, start, end), not the notification: Alertmanager sends a
group again whenever one of its alerts changes and at every ``repeat_interval``, and an alert that is as before is the same event
each time, so it leads to the same run. ``endsAt`` in the year 1 means "not resolved yet".

Grafana's notifications have the same alerts (``grafana``).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from headrace.ingest.normalise.declared.values import as_text
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.times import rfc3339
from headrace.messages.canonical import canonical_json
from headrace.messages.errors import RejectedMessage

_STATUSES: Final = frozenset({"firing", "resolved"})
GROUP: Final = (
    "receiver",
    "status",
    "groupKey",
    "groupLabels",
    "commonLabels",
    "commonAnnotations",
    "externalURL",
    "truncatedAlerts",
)


def normalise(delivery: Delivery) -> list[Draft]:
    """One draft an alert, each once. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    body = delivery.json()
    alerts = body.get("alerts") if isinstance(body, dict) else None
    if not isinstance(alerts, list) or not alerts:
        raise RejectedMessage("no alerts in the notification", cause="alertmanager_body", where="/alerts")
    group = {key: body[key] for key in GROUP if key in body}
    source = as_text(body.get("externalURL")) or delivery.source
    return drafts_of(
        alerts, group, delivery, source=source, type_="io.prometheus.alertmanager.alert", cause="alertmanager_body"
    )


def drafts_of(
    alerts: list[Any], group: Mapping[str, Any], delivery: Delivery, *, source: str, type_: str, cause: str
) -> list[Draft]:
    """One draft an alert of ``group``, each once; ``cause`` is that of the rejection of one that is not an alert."""
    drafts: dict[str, Draft] = {}
    for index, alert in enumerate(alerts):
        status = alert.get("status") if isinstance(alert, dict) else None
        if not isinstance(status, str) or status not in _STATUSES:
            raise RejectedMessage("neither firing nor resolved", cause=cause, where=f"/alerts/{index}/status")
        if not (fingerprint := _fingerprint(alert)):
            raise RejectedMessage("no fingerprint, no labels", cause=cause, where=f"/alerts/{index}/labels")
        draft = _draft(delivery, source, f"{type_}.{status}", group, alert, fingerprint)
        drafts.setdefault(draft.id, draft)
    return list(drafts.values())


def _draft(
    delivery: Delivery, source: str, type_: str, group: Mapping[str, Any], alert: dict[str, Any], fingerprint: str
) -> Draft:
    started, ended = rfc3339(alert.get("startsAt")), rfc3339(alert.get("endsAt"))
    labels = alert.get("labels")
    if not isinstance(labels, dict):
        labels = {}
    return Draft(
        id=_alert_id(source, group, fingerprint, alert),
        source=source,
        type=type_,
        subject=as_text(labels.get("alertname")),
        time=(ended if alert["status"] == "resolved" else None) or started or delivery.received,
        partition_key=fingerprint,
        data={**alert, "fingerprint": fingerprint, "group": group},
        url=as_text(alert.get("generatorURL")),
        severity=as_text(labels.get("severity")),
    )


def _alert_id(source: str, group: Mapping[str, Any], fingerprint: str, alert: dict[str, Any]) -> str:
    """Never change this format: stored events and runs are named by it."""
    state = (as_text(alert.get(key)) or "" for key in ("status", "startsAt", "endsAt"))
    return sha256("|".join((source, as_text(group.get("groupKey")) or "", fingerprint, *state)).encode()).hexdigest()


def _fingerprint(alert: dict[str, Any]) -> str | None:
    """Alertmanager's own; before 0.20 it sent none, and then the labels, which it is made of, stand in."""
    if own := as_text(alert.get("fingerprint")):
        return own
    labels = alert.get("labels")
    if not isinstance(labels, dict) or not labels:
        return None
    return sha256(canonical_json(labels)).hexdigest()[:16]

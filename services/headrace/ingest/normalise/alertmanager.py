"""Prometheus Alertmanager: one notification is a group of alerts, and each alert is an event of its own.

The event's id names the alert in one state (group, fingerprint, status, start, end), not the notification: Alertmanager sends a
group again whenever one of its alerts changes and at every ``repeat_interval``, and an alert that is as before is the same event
each time, so it leads to the same run. ``endsAt`` in the year 1 means "not resolved yet".
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import orjson

from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.paths import first_time, text
from headrace.messages.errors import RejectedMessage

_TYPE: Final = "io.prometheus.alertmanager.alert."
_STATUSES: Final = frozenset({"firing", "resolved"})
_GROUP: Final = (
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
    group = {key: body[key] for key in _GROUP if key in body}
    source = text(body, "externalURL") or delivery.source
    drafts: dict[str, Draft] = {}
    for index, alert in enumerate(alerts):
        draft = _draft(delivery, source, group, alert, index)
        drafts.setdefault(draft.id, draft)
    return list(drafts.values())


def _draft(delivery: Delivery, source: str, group: dict[str, Any], alert: Any, index: int) -> Draft:
    status = text(alert, "status")
    if status not in _STATUSES:
        raise RejectedMessage("neither firing nor resolved", cause="alertmanager_body", where=f"/alerts/{index}/status")
    fingerprint = _fingerprint(alert, index)
    times = ("endsAt", "startsAt") if status == "resolved" else ("startsAt",)
    return Draft(
        id=_alert_id(source, group, fingerprint, alert),
        source=source,
        type=_TYPE + status,
        subject=text(alert, "labels.alertname"),
        time=first_time(alert, times) or delivery.received,
        partition_key=fingerprint,
        data={**alert, "fingerprint": fingerprint, "group": group},
        url=text(alert, "generatorURL"),
        severity=text(alert, "labels.severity"),
    )


def _alert_id(source: str, group: dict[str, Any], fingerprint: str, alert: Any) -> str:
    """Never change this format: stored events and runs are named by it."""
    state = (text(alert, key) or "" for key in ("status", "startsAt", "endsAt"))
    return sha256("|".join((source, text(group, "groupKey") or "", fingerprint, *state)).encode()).hexdigest()


def _fingerprint(alert: Any, index: int) -> str:
    """Alertmanager's own; before 0.20 it sent none, and then the labels, which it is made of, stand in."""
    if own := text(alert, "fingerprint"):
        return own
    labels = alert.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise RejectedMessage("no fingerprint, no labels", cause="alertmanager_body", where=f"/alerts/{index}/labels")
    return sha256(orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

"""Rules for ``alert-summariser``: the severity label, the environment, and words of the alert's name and annotations."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, first_match, shift

_SEVERITY: Final = {
    "critical": "critical",
    "page": "critical",
    "emergency": "critical",
    "error": "high",
    "high": "high",
    "major": "high",
    "warning": "medium",
    "warn": "medium",
    "medium": "medium",
    "minor": "low",
    "low": "low",
    "info": "low",
    "none": "low",
}
_CLASSES: Final = (
    ("security", r"intrusion|unauthori[sz]ed|brute.?force|certificate.*(expir|invalid)|malware"),
    ("data", r"replication|backup|corrupt|data ?loss|checksum|inconsisten"),
    ("availability", r"\bdown\b|instancedown|unavailable|unreachable|crash ?loop|not ready|absent|outage"),
    ("latency", r"latency|slow|duration|response time|p9[59]"),
    ("errors", r"error|5xx|fail|exception"),
    ("saturation", r"cpu|memory|disk|filesystem|full|queue|lag|throttl|saturat|quota|connections"),
    ("hygiene", r"deprecat|drift|outdated|watchdog|expir|soon"),
)
_ACTIONS: Final = {
    "security": ["Preserve logs before anything is changed.", "Involve whoever is on call for security."],
    "data": ["Stop jobs that write to it if the loss can grow.", "Check the newest restorable backup."],
    "availability": [
        "Check whether users see it.",
        "Look at the last deployment and at restarts.",
        "Compare the other instances.",
    ],
    "latency": ["Compare with traffic: more load, or slower at the same load.", "Look at what it depends on."],
    "errors": ["Group the errors by kind and start time.", "Compare the start with the last deployment."],
    "saturation": ["See how fast it grows, and when it is full.", "Find what changed in load or retention."],
    "hygiene": ["Plan it into normal work before the stated date."],
    "unknown": ["Read the alert's rule: the event says little."],
}
_ENVIRONMENTS: Final = ("data.labels.environment", "data.labels.env", "data.labels.stage")
_LESSER: Final = frozenset({"staging", "stage", "dev", "development", "test", "qa", "sandbox"})


def assess(facts: Facts) -> dict[str, Any]:
    alert = facts.quote("data.labels.alertname") or "An unnamed alert"
    said = facts.quote(
        "data.annotations.summary", "data.annotations.description", "data.annotations.message", limit=240
    )
    severity = facts.text("data.labels.severity").lower()
    environment = facts.text(*_ENVIRONMENTS).lower()
    risk = shift(_SEVERITY.get(severity, "medium"), -1 if environment in _LESSER else 0)
    kind = first_match(_CLASSES, f"{facts.text('data.labels.alertname')} {said}", "unknown")
    affected = facts.quote("data.labels.service", "data.labels.job", "data.labels.instance", "data.labels.namespace")
    label = f"severity {severity[:20]}" if severity else "no severity label"
    return {
        "class": kind,
        "risk": risk,
        "summary": f"{REMARK}{alert} is firing for {affected or 'an unnamed target'} ({label}"
        f"{', ' + environment[:30] if environment else ''})." + (f" It says: {said}" if said else ""),
        "recommended_actions": [*_ACTIONS[kind], *_runbook(facts)],
        "affected": affected or "unknown",
        "page": risk == "critical",
    }


def _runbook(facts: Facts) -> list[str]:
    url = facts.quote("data.annotations.runbook_url", limit=300)
    return [f"Follow the runbook that the alert names: {url}"] if url.startswith("https://") else []

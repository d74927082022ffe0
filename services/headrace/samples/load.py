"""From ``deliveries.yaml`` to the requests that a gateway would get."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Any, Final, Literal

import orjson
import yaml

_NAMESPACE: Final = uuid.UUID("0d6f1a52-7d0c-5c39-9a0a-73616d706c65")
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Sample:
    """One HTTP request: POST ``body`` with ``headers`` to ``path``. ``sign`` names the scheme that the sender signs with.

    ``headers`` has no signature: whoever sends it has the secret. ``runs`` is how many runs the built-in agents make of it.
    """

    kind: str
    name: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    sign: Literal["github"] | None = None
    runs: int = 1


def samples(seed: str = "demo") -> list[Sample]:
    """All samples in a fixed order. ``seed`` goes into every id that a sender would draw anew."""
    text = resources.files(__package__).joinpath("deliveries.yaml").read_text(encoding="utf-8")
    return [_BUILDERS[entry["form"]](entry, seed) for entry in yaml.load(text, Loader=yaml.CSafeLoader)]


def _github(entry: dict[str, Any], seed: str) -> Sample:
    headers = {
        "content-type": _JSON,
        "user-agent": "GitHub-Hookshot/sample",
        "x-github-event": entry["event"],
        "x-github-delivery": _id(seed, entry["name"]),
    }
    body = {**entry["body"], "repository": _repository(entry["repository"]), "sender": {"login": entry["sender"]}}
    return Sample(f"github {entry['event']}", entry["name"], "/webhooks/github", headers, orjson.dumps(body), "github")


def _alertmanager(entry: dict[str, Any], seed: str) -> Sample:
    """Alertmanager gives no ids: a new seed is another group, as a new incident would be."""
    headers = {"content-type": _JSON, "user-agent": "Alertmanager/sample"}
    group_key = f"{{}}:{{alertname={orjson.dumps(entry['name']).decode()}, run={orjson.dumps(seed).decode()}}}"
    alerts = [_alert(alert) for alert in entry["alerts"]]
    body = {
        "version": "4",
        "groupKey": group_key,
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "headrace",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.example.org",
        "alerts": alerts,
    }
    return Sample(
        "alertmanager", entry["name"], "/webhooks/alertmanager", headers, orjson.dumps(body), runs=len(alerts)
    )


def _alert(alert: dict[str, Any]) -> dict[str, Any]:
    labels = orjson.dumps(alert["labels"], option=orjson.OPT_SORT_KEYS)
    return {
        "status": "firing",
        **alert,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": f"https://prometheus.example.org/graph?g0.expr={alert['labels']['alertname']}",
        "fingerprint": sha256(labels).hexdigest()[:16],
    }


def _envelope(entry: dict[str, Any], seed: str) -> Sample:
    body = {**entry["body"], "id": _id(seed, entry["name"])}
    headers = {"content-type": _JSON}
    return Sample("envelope", entry["name"], "/events", headers, orjson.dumps(body), runs=entry.get("runs", 1))


def _structured(entry: dict[str, Any], seed: str) -> Sample:
    body = {"specversion": "1.0", "id": _id(seed, entry["name"]), **entry["attributes"], "data": entry["data"]}
    headers = {"content-type": "application/cloudevents+json"}
    return Sample("cloudevent", entry["name"], "/events", headers, orjson.dumps(body))


def _binary(entry: dict[str, Any], seed: str) -> Sample:
    attributes = {"specversion": "1.0", "id": _id(seed, entry["name"]), **entry["attributes"]}
    headers = {"content-type": _JSON} | {f"ce-{name}": value for name, value in attributes.items()}
    return Sample("cloudevent", entry["name"], "/events", headers, orjson.dumps(entry["data"]))


def _repository(full_name: str) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    return {
        "name": name,
        "full_name": full_name,
        "html_url": f"https://github.com/{full_name}",
        "private": True,
        "default_branch": "main",
        "owner": {"login": owner},
    }


def _id(seed: str, name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{seed}\x1f{name}"))


_BUILDERS: Final = {
    "github": _github,
    "alertmanager": _alertmanager,
    "envelope": _envelope,
    "cloudevent-structured": _structured,
    "cloudevent-binary": _binary,
}

"""Sending requests to the gateway as a sender would: samples, signed."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import httpx2

from headrace.cli.mesh import webhook_secrets
from headrace.messages.errors import DependencyUnavailable
from headrace.samples import Sample


def github_signature(secret: str, body: bytes) -> str:
    """Value of ``X-Hub-Signature-256``. Source: GitHub's "Validating webhook deliveries"."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def send_sample(client: httpx2.AsyncClient, sample: Sample, data: Path) -> httpx2.Response:
    """Deliver a sample, signed with the mesh's own secret. Raises ``DependencyUnavailable`` if the gateway is away."""
    headers = dict(sample.headers)
    if sample.sign == "github":
        secret = next(iter(webhook_secrets(data).values())).split(",")[0]
        headers["x-hub-signature-256"] = github_signature(secret, sample.body)
    return await post(client, sample.path, sample.body, headers)


async def post(client: httpx2.AsyncClient, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    """POST, with a gateway that is away as an error that says so."""
    try:
        return await client.post(path, content=body, headers=headers)
    except httpx2.TransportError as error:
        raise DependencyUnavailable(
            f"the gateway at {client.base_url} does not answer ({type(error).__name__})"
        ) from None


def said(answer: Any) -> Any:
    """What matters of the gateway's answer: the ids that it gave, or what it found wrong."""
    if not isinstance(answer, dict):
        return answer
    for key in ("ids", "delivery_id", "detail"):
        if value := answer.get(key):
            return ", ".join(str(one or "accepted") for one in value) if isinstance(value, list) else value
    return answer


def row_of(name: str, response: httpx2.Response) -> dict[str, Any]:
    """What was sent and what the gateway answered: ``event``, ``status``, ``answer``."""
    try:
        answer = response.json()
    except ValueError:
        answer = response.text[:200]
    return {"event": name, "status": response.status_code, "answer": answer}

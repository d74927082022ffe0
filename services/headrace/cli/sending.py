"""Sending requests to the gateway as a sender would: samples, signed."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

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

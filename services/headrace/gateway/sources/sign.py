"""The sender's side: what a delivery must carry to be taken, for samples and tests. No part of the gateway's own work."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from headrace.gateway.sources.build import PROXY, variable_of
from headrace.gateway.sources.model import SourceConfig
from headrace.gateway.sources.schemes import Auth, BasicAuth, ClientCertAuth, Ed25519Auth, HmacAuth, SnsAuth, TokenAuth
from headrace.gateway.sources.signatures import hmac_keys, signed_bytes, template
from headrace.gateway.sources.spelling import encoded, timestamp


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes with a delivery: further headers, and a query for its URL."""

    headers: Mapping[str, str]
    query: str = ""


def signable(config: SourceConfig) -> bool:
    """Whether who has the gateway's secrets can prove a delivery; not where these are public keys."""
    return any(not isinstance(auth, SnsAuth | Ed25519Auth) for auth in config.auth)


def sign(
    config: SourceConfig, secrets: Mapping[str, Sequence[bytes]], body: bytes, *, now: float, delivery: str
) -> Proof | None:
    """The proof that ``config`` asks for, by its first scheme that ``secrets`` (by variable) has something for.

    None where nobody but the sender can make one (a private key is needed). ``now`` is in epoch seconds, ``delivery`` an id.
    """
    for auth in config.auth:
        given = secrets.get(variable_of(config, auth.secret), ())
        if given and (proof := _proof(auth, given[0], body, now, delivery)) is not None:
            proxy = secrets.get(variable_of(config, PROXY), ())
            if isinstance(auth, ClientCertAuth) and proxy:
                return Proof({**proof.headers, auth.proxy_header: proxy[0].decode("latin-1")})
            return proof
    return None


def _proof(auth: Auth, secret: bytes, body: bytes, now: float, delivery: str) -> Proof | None:
    match auth:
        case HmacAuth():
            return Proof(_signature(auth, secret, body, now, delivery))
        case TokenAuth(query=str(name)):
            return Proof({}, urlencode({name: secret.decode()}))
        case TokenAuth(header="authorization") if b":" not in secret:
            return Proof({"authorization": f"Bearer {secret.decode('latin-1')}"})
        case BasicAuth() | TokenAuth(header="authorization"):
            return Proof({"authorization": f"Basic {base64.b64encode(secret).decode()}"})
        case TokenAuth():
            return Proof({auth.header: secret.decode("latin-1")})
        case ClientCertAuth():
            return Proof({auth.header: secret.decode("latin-1"), **auth.verified})
    return None


def _signature(auth: HmacAuth, secret: bytes, body: bytes, now: float, delivery: str) -> dict[str, str]:
    fields = {"body": body, "id": delivery.encode()}
    headers = {auth.id: delivery} if auth.id else {}
    items = []
    if auth.timestamp:
        text = timestamp(now, auth.timestamp.format)
        fields["timestamp"] = text.encode()
        if auth.timestamp.header:
            headers[auth.timestamp.header] = text
        else:
            items.append(f"{auth.timestamp.item}{text}")
    [key] = hmac_keys(auth, [secret], "secret")
    digest = hmac.digest(key, signed_bytes(template(auth.signed), fields), auth.algorithm)
    items.append(f"{auth.prefix}{encoded(digest, auth.encoding)}")
    return {**headers, auth.header: (auth.separator or "").join(items)}

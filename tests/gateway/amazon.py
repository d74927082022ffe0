"""Amazon SNS as far as a subscriber sees it: a key with its certificate, signed messages, and its host behind a local server."""

from __future__ import annotations

import asyncio
import base64
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from headrace.egress import EgressPolicy, GuardedClient
from headrace.gateway.sources.outbound import GuardedOutbound
from tests.gateway.senders import NOW_S, TOPIC
from tests.gateway.support import NOW
from tests.tools.servers import Internet, Names, Seen, Server, response, serving

HOST = "sns.us-east-1.amazonaws.com"
CERTIFICATE = f"https://{HOST}/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE = f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=planted-token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(host: str = HOST, *, at: datetime = NOW, key: rsa.RSAPrivateKey = KEY) -> bytes:
    """Self-signed, valid for a day around ``at``; PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def message(kind: str = "Notification", **changed: Any) -> dict[str, Any]:
    """A message without its signature; None takes a field away."""
    fields: dict[str, Any] = {
        "Type": kind,
        "MessageId": str(uuid.uuid5(uuid.NAMESPACE_URL, kind)),
        "TopicArn": TOPIC,
        "Message": "line one\nline two \u00e9",
        "Timestamp": "2026-01-02T03:04:05.678Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE,
    }
    if kind == "Notification":
        fields |= {"Subject": "A subject", "UnsubscribeURL": f"https://{HOST}/?Action=Unsubscribe"}
    else:
        fields |= {"Token": "planted-token", "SubscribeURL": SUBSCRIBE}
    return {name: value for name, value in (fields | changed).items() if value is not None}


def signed(fields: dict[str, Any], key: rsa.RSAPrivateKey = KEY) -> bytes:
    """The body, signed by the developer guide's list of fields, in the order of their bytes."""
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
    digest = hashes.SHA1() if fields["SignatureVersion"] == "1" else hashes.SHA256()
    signature = key.sign(text.encode(), padding.PKCS1v15(), digest)
    return orjson.dumps({"Signature": base64.b64encode(signature).decode()} | fields)


@dataclass
class Amazon:
    """``answers`` by path; ``outbound`` reaches them under SNS's name, through the guard."""

    server: Server
    outbound: GuardedOutbound
    dns: Names
    answers: dict[str, bytes] = field(default_factory=dict)

    @property
    def asked(self) -> list[str]:
        return [f"{seen.method} {seen.target}" for seen in self.server.requests]


@asynccontextmanager
async def amazon(folder: Path, *, address: str = "93.184.216.34") -> AsyncIterator[Amazon]:
    """SNS's host, at ``address`` by the DNS, with a certificate for TLS that is trusted."""
    now = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()), UTC)
    pem = certificate(at=now)
    ca = folder / "ca.pem"
    ca.write_bytes(pem)
    private = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    answers = {
        "/SimpleNotificationService-0123456789abcdef.pem": response(200, certificate()),
        "/": response(200, b"<ConfirmSubscriptionResponse/>"),
    }

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.get(seen.path, response(404)))

    dns = Names(**{HOST.replace(".", "_"): [[address]]})
    async with serving(script, tls=tls) as server:
        client = GuardedClient(EgressPolicy(timeout_s=30), ca_file=ca, resolver=dns, dial=Internet(server))
        async with client:
            yield Amazon(server, GuardedOutbound(client), dns, answers)


__all__ = ["CERTIFICATE", "HOST", "KEY", "NOW_S", "SUBSCRIBE", "Amazon", "amazon", "certificate", "message", "signed"]

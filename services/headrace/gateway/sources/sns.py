"""Amazon SNS: what of a message is signed, by whom, and where the certificate may come from. Pure, but for ``SnsVerifier``.

SNS signs some fields of the message, not its bytes: a notification's but for UnsubscribeURL and MessageAttributes. Nothing else
may be believed. The certificate's address is in the message too, so it counts only on the host of SNS in the region of a topic that
the operator listed, whoever else is Amazon's guest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from headrace.gateway.sources.certificates import Certificates
from headrace.gateway.sources.schemes import SnsAuth
from headrace.gateway.sources.spelling import decoded, epoch
from headrace.gateway.sources.verify import Incoming
from headrace.messages.errors import UndecodableMessage
from headrace.messages.json_check import check

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

CONFIRMATIONS: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(CONFIRMATIONS, ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")),
}
_OPTIONAL: Final = frozenset({"Subject"})
_ARN: Final = re.compile(r"arn:aws(?:-[a-z]+)*:sns:([a-z0-9-]{1,32}):\d{12}:[A-Za-z0-9_.-]{1,260}")
_CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")
Message = Mapping[str, str]


def host_of(topic_arn: str) -> str | None:
    """The host of SNS in the topic's region; None where the ARN is none."""
    found = _ARN.fullmatch(topic_arn)
    if found is None:
        return None
    region = found.group(1)
    return f"sns.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def certificate_url(message: Message) -> tuple[str, str] | None:
    """URL and host of the signing certificate, if it is where SNS keeps such; None for any other address."""
    host, url = host_of(message["TopicArn"]), message["SigningCertURL"]
    if host is None or not url.startswith(f"https://{host}/"):
        return None
    return (url, host) if _CERTIFICATE_PATH.fullmatch(url, len(f"https://{host}")) else None


def subscribe_url(message: Message) -> tuple[str, str] | None:
    """URL and host that confirm a subscription; None for any other address."""
    host, url = host_of(message["TopicArn"]), message["SubscribeURL"]
    return (url, host) if host is not None and url.startswith(f"https://{host}/?") else None


def read(value: Any) -> Message | None:
    """The fields of a message, signed ones and those that say how; None where one is missing or no text."""
    signed = _SIGNED.get(str(value.get("Type"))) if isinstance(value, dict) else None
    if signed is None:
        return None
    wanted = {*signed, "Signature", "SignatureVersion", "SigningCertURL"}
    message = {name: value[name] for name in wanted if value.get(name) is not None}
    if not wanted - message.keys() <= _OPTIONAL or not all(isinstance(text, str) for text in message.values()):
        return None
    # lines separate what is signed: with one more in any field after the first, two messages could have one signature
    return None if any("\n" in message[name] for name in message if name != "Message") else message


def covered(message: Message) -> bytes:
    """What is signed: name and value of each signed field, a line each."""
    names = [name for name in _SIGNED[message["Type"]] if name in message]
    return "".join(f"{name}\n{message[name]}\n" for name in names).encode()


class SnsVerifier:
    """``topics`` are the ARNs that may deliver: anyone can have a topic of their own, and Amazon signs for all."""

    def __init__(self, auth: SnsAuth, topics: Sequence[bytes], certificates: Certificates) -> None:
        self._tolerance_s = auth.tolerance_s
        self._topics = frozenset(topic.decode("utf-8", "replace") for topic in topics)
        self._certificates = certificates

    def presented(self, delivery: Incoming) -> bool:
        return True

    async def verify(self, delivery: Incoming) -> bool:
        try:
            message = read(check(delivery.body))
        except UndecodableMessage:
            return False
        if message is None or message["TopicArn"] not in self._topics:
            return False
        at = epoch(message["Timestamp"], "rfc3339")
        if at is None or abs(delivery.now - at) > self._tolerance_s:
            return False
        where, signature = certificate_url(message), decoded(message["Signature"], "base64")
        if where is None or signature is None or message["SignatureVersion"] not in ("1", "2"):
            return False
        key = await self._certificates.key(*where, now=delivery.now)
        return key is not None and _signed_by(key, signature, message)


def _signed_by(key: RSAPublicKey, signature: bytes, message: Message) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    # version 1 is SNS's default, so it has to be taken; SHA-1's weakness is collisions, and these need the signer's help
    digest = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303
    try:
        key.verify(signature, covered(message), padding.PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True

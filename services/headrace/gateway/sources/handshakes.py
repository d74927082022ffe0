"""Handshakes at work: pure answers to what a sender asks, but for SNS, which wants to be called back.

``answer`` is given the parsed body of a *verified* delivery, ``get`` the query of a GET, which nobody signs. None: not a handshake.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from headrace.gateway.compare import digest, same_as_any
from headrace.gateway.problems import JSON
from headrace.gateway.sources import sns
from headrace.gateway.sources.handshake_model import CrcHandshake, EchoHandshake, OriginHandshake, VerifyTokenHandshake
from headrace.gateway.sources.outbound import Outbound
from headrace.gateway.sources.spelling import encoded
from headrace.messages.errors import DependencyUnavailable, RejectedMessage
from headrace.observe.logging import get_logger

log = get_logger(__name__)
_MAX_ECHO: Final = 1_024
_MAX_CRC: Final = 256


@dataclass(frozen=True, slots=True)
class Reply:
    """What the sender is answered, with status 200."""

    body: bytes = b"{}"
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def pointed(value: Any, pointer: str) -> Any:
    """What is at a JSON pointer (without escapes); None where there is nothing."""
    for step in pointer.split("/")[1:]:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


class Echo:
    """Slack, Event Grid, Zoom."""

    def __init__(self, rule: EchoHandshake, key: bytes) -> None:
        self._rule = rule
        self._key = key

    async def answer(self, value: Any) -> Reply | None:
        if pointed(value, self._rule.when.pointer) != self._rule.when.equals:
            return None
        fields = {name: _echoed(value, pointer) for name, pointer in self._rule.answer.items()}
        for name, pointer in self._rule.signed.items():
            fields[name] = hmac.digest(self._key, _echoed(value, pointer).encode(), "sha256").hex()
        return Reply(orjson.dumps(fields))


class SnsConfirmation:
    """Subscriptions are confirmed. That one has ended is only noted: its message holds a token that would subscribe again."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def answer(self, value: Any) -> Reply | None:
        message = sns.read(value)
        if message is None or message["Type"] not in sns.CONFIRMATIONS:
            return None
        if message["Type"] == "UnsubscribeConfirmation":
            log.warning("sns_unsubscribed", topic_arn=message["TopicArn"])
            return Reply()
        where = sns.subscribe_url(message)
        if where is None:
            raise RejectedMessage("not an address of this topic's SNS", cause="subscribe_url", where="/SubscribeURL")
        status, _ = await self._outbound.get(*where)
        if status >= 300:
            raise DependencyUnavailable(f"{where[1]} answered {status}")
        log.info("sns_subscribed", topic_arn=message["TopicArn"])
        return Reply()


class VerifyToken:
    """Meta."""

    def __init__(self, rule: VerifyTokenHandshake, tokens: Sequence[bytes]) -> None:
        self._rule = rule
        self._tokens = tuple(digest(token) for token in tokens)

    def get(self, query: Mapping[str, str]) -> Reply | None:
        challenge = query.get("hub.challenge", "")
        known = same_as_any(digest(query.get("hub.verify_token", "").encode()), self._tokens)
        if query.get("hub.mode") != "subscribe" or not known or not _plain(challenge):
            return None
        return Reply(challenge.encode(), "text/plain")


class Crc:
    """X. Anyone can ask, and is given a signature by the key that deliveries are signed with: so never one of anything that could
    be a delivery.
    """

    def __init__(self, _rule: CrcHandshake, key: bytes) -> None:
        self._key = key

    def get(self, query: Mapping[str, str]) -> Reply | None:
        token = query.get("crc_token", "")
        if not _plain(token) or len(token) > _MAX_CRC or _is_json(token):
            return None
        signature = encoded(hmac.digest(self._key, token.encode(), "sha256"), "base64")
        return Reply(orjson.dumps({"response_token": f"sha256={signature}"}))


class Origin:
    """CloudEvents' protection against abuse: who may deliver, and how often (as often as it likes)."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.lower() for origin in origins)

    @classmethod
    def of(cls, rule: OriginHandshake) -> Origin:
        return cls(rule.origins)

    def options(self, headers: Mapping[str, str]) -> Reply | None:
        origin = headers.get("webhook-request-origin", "")
        if origin.lower() not in self._origins:
            return None
        allowed = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "OPTIONS, POST"}
        return Reply(b"", "text/plain", allowed)


def _echoed(value: Any, pointer: str) -> str:
    text = pointed(value, pointer)
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_ECHO:
        raise RejectedMessage("a handshake without the text that it asks back", cause="handshake", where=pointer)
    return text


def _plain(text: str) -> bool:
    return 0 < len(text) <= _MAX_ECHO and text.isascii() and text.isprintable() and not set(text) & set("<>&\"' ")


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True

"""Senders that sign nothing and show a secret instead: tokens, passwords, and a proxy's word for a client certificate.

What is compared are digests of equal length, all of them, in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from headrace.gateway.compare import digest, same_as_any
from headrace.gateway.sources.schemes import ClientCertAuth, TokenAuth
from headrace.gateway.sources.spelling import decoded
from headrace.gateway.sources.verify import Incoming


class TokenVerifier:
    """The shared secret itself, where ``auth`` says."""

    def __init__(self, auth: TokenAuth, secrets: Sequence[bytes]) -> None:
        self._auth = auth
        self._digests = tuple(digest(secret) for secret in secrets)

    def presented(self, delivery: Incoming) -> bool:
        return self._given(delivery) is not None

    async def verify(self, delivery: Incoming) -> bool:
        given = self._given(delivery)
        return given is not None and same_as_any(digest(given), self._digests)

    def _given(self, delivery: Incoming) -> bytes | None:
        if self._auth.query is not None:
            values = parse_qs(delivery.query).get(self._auth.query, [])
            return values[0].encode("utf-8", "replace") if len(values) == 1 else None
        text = delivery.headers.get(self._auth.header)
        if text is None:
            return None
        if self._auth.header == "authorization":
            return _bearer(text) or _basic(text)
        return text.encode("latin-1", "replace") or None


class BasicVerifier:
    """``user:password`` as Basic credentials."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._digests = tuple(digest(secret) for secret in secrets)

    def presented(self, delivery: Incoming) -> bool:
        return _basic(delivery.headers.get("authorization", "")) is not None

    async def verify(self, delivery: Incoming) -> bool:
        given = _basic(delivery.headers.get("authorization", ""))
        return given is not None and same_as_any(digest(given), self._digests)


class ClientCertVerifier:
    """The name of a certificate, if it comes from the proxy and the proxy has verified it."""

    def __init__(self, auth: ClientCertAuth, names: Sequence[bytes], proxy_secrets: Sequence[bytes]) -> None:
        self._auth = auth
        self._names = tuple(digest(name) for name in names)
        self._proxies = tuple(digest(secret) for secret in proxy_secrets)

    def presented(self, delivery: Incoming) -> bool:
        return self._auth.header in delivery.headers

    async def verify(self, delivery: Incoming) -> bool:
        headers = delivery.headers
        from_proxy = same_as_any(_header_digest(headers.get(self._auth.proxy_header, "")), self._proxies)
        known = same_as_any(_header_digest(headers.get(self._auth.header, "")), self._names)
        verified = all(headers.get(name) == value for name, value in self._auth.verified.items())
        return from_proxy and known and verified


class OpenVerifier:
    """Anybody may deliver: an operator said so."""

    def presented(self, delivery: Incoming) -> bool:
        return True

    async def verify(self, delivery: Incoming) -> bool:
        return True


def _header_digest(text: str) -> bytes:
    return digest(text.encode("latin-1", "replace"))


def _bearer(text: str) -> bytes | None:
    scheme, _, value = text.partition(" ")
    value = value.strip()
    return value.encode("latin-1", "replace") if scheme.lower() == "bearer" and value else None


def _basic(text: str) -> bytes | None:
    scheme, _, value = text.partition(" ")
    return decoded(value.strip(), "base64") if scheme.lower() == "basic" and value.strip() else None

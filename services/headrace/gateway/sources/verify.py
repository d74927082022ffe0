"""Is this delivery from who it says? One verifier per scheme, over the raw body, in constant time.

A digest is compared decoded, but its text must be the canonical one: two spellings of a signature are never both accepted.
All secrets that are valid now are tried, whichever matches, so that the time taken does not tell which one did.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from headrace.gateway.compare import digest, same_as_any
from headrace.gateway.sources.model import HmacAuth

_DIGEST_SIZE: Final = {"sha256": 32, "sha512": 64}


class Verifier(Protocol):
    def verify(self, headers: Mapping[str, str], body: bytes) -> bool: ...


class HmacVerifier:
    """HMAC of the raw body, in the header that the source names."""

    def __init__(self, auth: HmacAuth, secrets: Sequence[bytes]) -> None:
        self._auth = auth
        self._secrets = tuple(secrets)

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        given = self._given(headers.get(self._auth.header))
        if given is None:
            return False
        digests = [hmac.digest(secret, body, self._auth.algorithm) for secret in self._secrets]
        return same_as_any(given, digests)

    def _given(self, text: str | None) -> bytes | None:
        if text is None or not text.startswith(self._auth.prefix):
            return None
        given = _decoded(text[len(self._auth.prefix) :], self._auth.encoding)
        return given if given is not None and len(given) == _DIGEST_SIZE[self._auth.algorithm] else None


class TokenVerifier:
    """The shared secret itself, as a Bearer token or as Basic ``user:password``."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._digests = tuple(digest(secret) for secret in secrets)

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        given = _credentials(headers.get("authorization", ""))
        if given is None:
            return False
        return same_as_any(digest(given), self._digests)


class OpenVerifier:
    """Anybody may deliver: an operator said so."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        return True


def _credentials(header: str) -> bytes | None:
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value.encode("latin-1", "replace")
    if scheme.lower() == "basic" and value:
        return _decoded(value, "base64")
    return None


def _decoded(text: str, encoding: str) -> bytes | None:
    """The bytes of the one canonical spelling in ``encoding``; None for any other text."""
    try:
        if encoding == "hex":
            data = binascii.unhexlify(text)
            return data if data.hex() == text else None
        data = base64.b64decode(text, validate=True)
        return data if base64.b64encode(data).decode() == text else None
    except ValueError:
        return None

"""Signatures of the raw body: HMAC and Ed25519, in any of the layouts that ``schemes.SignatureAuth`` can say.

A digest is compared decoded and in constant time, with those of all secrets that are valid now, whichever matches. Text that is
signed along with the body is taken verbatim from its header, so that nothing in it can be spelled in a second way.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from headrace.gateway.compare import same_as_any
from headrace.gateway.sources.schemes import Ed25519Auth, HmacAuth, SignatureAuth
from headrace.gateway.sources.spelling import decoded, epoch, key_bytes
from headrace.gateway.sources.verify import Incoming
from headrace.messages.errors import FatalError

if TYPE_CHECKING:  # a slow import, and few sources need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DIGEST_BYTES: Final = {"sha256": 32, "sha512": 64}
_ED25519_BYTES: Final = 64
_MAX_SIGNATURES: Final = 8  # in one header: more than any rotation needs
_MAX_ID: Final = 256
_PARTS: Final = re.compile(r"\{(timestamp|id|body)\}")


class _Layout:
    """Where in a request a signature is, and what it covers."""

    def __init__(self, auth: SignatureAuth, size: int) -> None:
        self._auth = auth
        self._size = size  # bytes of one signature
        self._parts = _PARTS.split(auth.signed)  # literal text and names of fields, in turn

    def presented(self, delivery: Incoming) -> bool:
        return any(item.startswith(self._auth.prefix) for item in self._items(delivery))

    def signatures(self, delivery: Incoming) -> list[bytes]:
        """All well-formed signatures of this scheme; none where there are suspiciously many."""
        prefix, encoding = self._auth.prefix, self._auth.encoding
        given = [item[len(prefix) :] for item in self._items(delivery) if item.startswith(prefix)]
        if len(given) > _MAX_SIGNATURES:
            return []
        found = (decoded(text, encoding) for text in given)
        return [each for each in found if each is not None and len(each) == self._size]

    def covered(self, delivery: Incoming) -> bytes | None:
        """The signed bytes; None where a part of them is missing, malformed, or too old or new."""
        fields = {"body": delivery.body}
        if self._auth.timestamp is not None and not self._read_timestamp(delivery, fields):
            return None
        if self._auth.id is not None and not self._read_id(delivery, fields):
            return None
        return signed_bytes(self._parts, fields)

    def _items(self, delivery: Incoming) -> list[str]:
        text = delivery.headers.get(self._auth.header)
        if text is None:
            return []
        return text.split(self._auth.separator) if self._auth.separator else [text]

    def _read_timestamp(self, delivery: Incoming, fields: dict[str, bytes]) -> bool:
        rule = self._auth.timestamp
        assert rule is not None
        if rule.header:
            text = delivery.headers.get(rule.header, "")
        else:
            prefix = rule.item or ""
            found = [item[len(prefix) :] for item in self._items(delivery) if item.startswith(prefix)]
            text = found[0] if len(found) == 1 else ""
        at = epoch(text, rule.format)
        fields["timestamp"] = text.encode("latin-1", "replace")
        return at is not None and abs(delivery.now - at) <= rule.tolerance_s

    def _read_id(self, delivery: Incoming, fields: dict[str, bytes]) -> bool:
        text = delivery.headers.get(self._auth.id or "", "")
        fields["id"] = text.encode("latin-1", "replace")
        return 0 < len(text) <= _MAX_ID and self._auth.id_end not in text


def signed_bytes(parts: Sequence[str], fields: dict[str, bytes]) -> bytes:
    """``parts`` as ``_PARTS`` splits a template: literal text at even places, names of ``fields`` at odd ones."""
    return b"".join(fields[part] if place % 2 else part.encode() for place, part in enumerate(parts))


def template(signed: str) -> list[str]:
    """The parts of a template, for ``signed_bytes``."""
    return _PARTS.split(signed)


def hmac_keys(auth: HmacAuth, secrets: Sequence[bytes], variable: str) -> tuple[bytes, ...]:
    """The keys that ``secrets`` spell. Raises ``FatalError`` naming ``variable``, never what is in it."""
    if auth.key == "text":
        return tuple(secrets)
    return tuple(key_bytes(secret, "whsec_", variable) for secret in secrets)


class HmacVerifier:
    """``variable`` is where the secrets are from, for the error about one that is no key."""

    def __init__(self, auth: HmacAuth, secrets: Sequence[bytes], variable: str = "secret") -> None:
        self._layout = _Layout(auth, DIGEST_BYTES[auth.algorithm])
        self._algorithm = auth.algorithm
        self._keys = hmac_keys(auth, secrets, variable)

    def presented(self, delivery: Incoming) -> bool:
        return self._layout.presented(delivery)

    async def verify(self, delivery: Incoming) -> bool:
        given, covered = self._layout.signatures(delivery), self._layout.covered(delivery)
        if covered is None or not given:
            return False
        digests = [hmac.digest(key, covered, self._algorithm) for key in self._keys]
        return sum([same_as_any(each, digests) for each in given]) > 0


class Ed25519Verifier:
    """The secrets are public keys of 32 bytes."""

    def __init__(self, auth: Ed25519Auth, secrets: Sequence[bytes], variable: str = "secret") -> None:
        self._layout = _Layout(auth, _ED25519_BYTES)
        self._keys = [_public_key(secret, variable) for secret in secrets]

    def presented(self, delivery: Incoming) -> bool:
        return self._layout.presented(delivery)

    async def verify(self, delivery: Incoming) -> bool:
        given, covered = self._layout.signatures(delivery), self._layout.covered(delivery)
        if covered is None:
            return False
        return any(_signed_by(key, each, covered) for each in given for key in self._keys)


def _public_key(secret: bytes, variable: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(key_bytes(secret, "whpk_", variable))
    except ValueError:
        raise FatalError(f"{variable}: not an Ed25519 public key of 32 bytes") from None


def _signed_by(key: Ed25519PublicKey, signature: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, covered)
    except InvalidSignature:
        return False
    return True

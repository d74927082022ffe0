"""Certificates by URL, fetched once and kept: a delivery seldom waits for one.

One fetch goes on at a time, and an address that gave none is not asked again for a while, so that forged deliveries cause few
requests. Who may be asked is decided by the caller.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from headrace.gateway.sources.outbound import Outbound
from headrace.messages.errors import DependencyUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate

_KEPT: Final = 32
_FRESH_S: Final = 86_400.0
_REFUSED_S: Final = 60.0  # until an address that gave no certificate is asked again
_Entry = tuple[float, "Certificate | None"]  # kept until (epoch seconds), what was there


class Certificates:
    """The public keys of certificates, while these are valid."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._fetching = asyncio.Lock()

    async def key(self, url: str, host: str, *, now: float) -> RSAPublicKey | None:
        """The RSA key of the certificate at ``url`` on ``host``, valid at ``now`` (epoch seconds); None where there is none.

        Raises:
            DependencyUnavailable: it can't be fetched now.
        """
        entry = self._entries.get(url)
        if entry is None or entry[0] < now:
            async with self._fetching:
                entry = self._entries.get(url)  # the one before may have brought it
                if entry is None or entry[0] < now:
                    entry = await self._fetch(url, host, now)
        return _rsa_key(entry[1], now) if entry[1] is not None else None

    async def _fetch(self, url: str, host: str, now: float) -> _Entry:
        status, body = await self._outbound.get(url, host)
        if status >= 500 or status == 429:
            raise DependencyUnavailable(f"{host} answered {status}")
        certificate = _certificate(body) if status == 200 else None
        entry = now + (_REFUSED_S if certificate is None else _FRESH_S), certificate
        self._entries[url] = entry
        self._entries.move_to_end(url)
        while len(self._entries) > _KEPT:
            self._entries.popitem(last=False)
        return entry


def _certificate(pem: bytes) -> Certificate | None:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _rsa_key(certificate: Certificate, now: float) -> RSAPublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    at = datetime.fromtimestamp(now, UTC)
    key = certificate.public_key()
    valid = certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
    return key if valid and isinstance(key, RSAPublicKey) else None

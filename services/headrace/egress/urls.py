"""One reading of a URL: what is checked here is what is dialled.

Hosts are compared in their ASCII form (IDNA 2008), lower case, without a trailing dot. Old spellings of addresses
(``0x7f.1``, ``0177.0.0.1``, ``2130706433``), which resolvers turn into addresses, are refused as hosts: a name whose
last label is a number is not a name (WHATWG URL, *ends in a number*).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

import httpx2

from headrace.egress.addresses import parse_address
from headrace.egress.errors import EgressDenied

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MAX_URL: Final = 8_000  # characters
Params = Mapping[str, str | int | float | bool | list[str | int | float | bool]]

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"^{_LABEL}(?:\.{_LABEL})*$")
_NUMBER = re.compile(r"^(?:[0-9]+|0x[0-9a-f]*)$")


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL. ``host`` is canonical; ``path`` (with the query) stays out of ``repr`` since it may hold
    secrets.
    """

    scheme: str
    host: str
    port: int
    path: bytes = field(repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> Target:
        """The target of a ``Location`` header of this one."""
        if _FORBIDDEN.search(location) or len(location) > MAX_URL:
            raise _malformed()
        base = f"{self.scheme}://{self.authority}"
        try:
            joined = httpx2.URL(base).copy_with(raw_path=self.path).join(location)
        except (httpx2.InvalidURL, ValueError):
            raise _malformed() from None
        return _target(joined)


def parse_url(text: str, params: Params | None = None) -> Target:
    """Read an absolute http(s) URL, adding ``params`` to its query. Raises ``EgressDenied``."""
    if len(text) > MAX_URL or _FORBIDDEN.search(text):
        raise _malformed()
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise _malformed() from None
    target = _target(url)
    return _with_params(target, params) if params else target


def canonical_host(host: str) -> str | None:
    """``host`` as it is compared and dialled; None if it is neither a host name nor a canonical IP address."""
    bare = host.lower().removesuffix(".")
    address = parse_address(bare)
    if address is not None:
        return str(address)
    if len(bare) > 253 or not _NAME.match(bare) or _NUMBER.match(bare.rpartition(".")[2]):
        return None
    return bare


def _target(url: httpx2.URL) -> Target:
    if url.scheme not in DEFAULT_PORTS:
        raise EgressDenied("scheme", "only http and https URLs are allowed")
    if url.userinfo:
        raise EgressDenied("userinfo", "a URL with credentials in it is not allowed")
    host = canonical_host(url.raw_host.decode("ascii"))
    port = url.port or DEFAULT_PORTS[url.scheme]
    if host is None or not 0 < port < 65_536:
        raise _malformed()
    return Target(url.scheme, host, port, url.raw_path or b"/")


def _with_params(target: Target, params: Params) -> Target:
    pairs = [(name, _text(item)) for name, value in params.items() for item in _items(value)]
    if not pairs:
        return target
    separator = b"&" if b"?" in target.path else b"?"
    path = target.path + separator + urlencode(pairs).encode()
    if len(path) > MAX_URL:
        raise _malformed()
    return Target(target.scheme, target.host, target.port, path)


def _items(
    value: str | int | float | bool | list[str | int | float | bool],
) -> list[str | int | float | bool]:
    return value if isinstance(value, list) else [value]


def _text(value: str | int | float | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _malformed() -> EgressDenied:
    return EgressDenied("malformed_url", "not a well-formed http(s) URL")

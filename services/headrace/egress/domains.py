"""Domain allow-lists: exact hosts, and ``*.example.org`` for everything below a domain (not the domain itself)."""

from __future__ import annotations

from collections.abc import Iterable

import httpx2

from headrace.egress.errors import EgressDenied, shown
from headrace.egress.urls import canonical_host


def require_allowed(host: str, domains: Iterable[str]) -> None:
    """Raises ``EgressDenied`` unless ``host`` (canonical) matches one of ``domains``. No list, no host."""
    if not any(matches(host, domain) for domain in domains):
        raise EgressDenied("domain", f"host {shown(host)} is not on the list of allowed domains")


def matches(host: str, domain: str) -> bool:
    """Whether ``domain`` covers ``host``. A pattern that is no host, or as wide as ``*`` or ``*.org``, covers
    nothing.
    """
    if not domain.startswith("*."):
        return _canonical(domain) == host
    parent = _canonical(domain[2:])
    return parent is not None and "." in parent and host.endswith("." + parent)


def _canonical(domain: str) -> str | None:
    try:
        return canonical_host(httpx2.URL(scheme="https", host=domain).raw_host.decode("ascii"))
    except (httpx2.InvalidURL, ValueError):
        return None

"""Which IP addresses are public.

``ipaddress.is_global`` is not enough by itself: Python 3.11 calls multicast, 192.0.0.0/24 and all of IPv6 that the
IANA has not assigned global, and an IPv6 address may carry an IPv4 address that a gateway on the way unwraps (RFC
4291, 3056, 6052). So: unwrap, then require global unicast, then leave out what clouds serve to their own machines on
public numbers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_IPV6_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291 2.4: all that the IANA assigns from
_IPV6_DOCUMENTATION: Final = IPv6Network("3fff::/20")  # RFC 9637, unknown to Python 3.11
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_SPECIAL_IPV4: Final = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's host agent
)


def is_public(address: Address) -> bool:
    """Whether ``address`` is a unicast address of the public internet, whatever form it is written in."""
    if isinstance(address, IPv4Address):
        return _is_public_ipv4(address)
    embedded = _embedded_ipv4(address)
    if embedded is not None:
        return _is_public_ipv4(embedded)
    return address in _IPV6_GLOBAL_UNICAST and address.is_global and address not in _IPV6_DOCUMENTATION


def is_local_service(address: Address) -> bool:
    """Link-local (cloud metadata lives there), multicast or unspecified: never meant by a *name* that an operator
    allowed.
    """
    plain = _embedded_ipv4(address) or address if isinstance(address, IPv6Address) else address
    return plain.is_link_local or plain.is_multicast or plain.is_unspecified


def parse_address(host: str) -> Address | None:
    """``host`` as an address if it is one in canonical form; a scope id (``%eth0``) is none."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _is_public_ipv4(address: IPv4Address) -> bool:
    special = address.is_multicast or address.is_reserved or any(address in network for network in _SPECIAL_IPV4)
    return address.is_global and not special

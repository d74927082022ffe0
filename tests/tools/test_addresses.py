"""Which addresses count as public: the whole trick list, and the real internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.egress.addresses import is_local_service, is_public, parse_address
from tests.tools.helpers import steady

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.0.1 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9
224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::8.8.8.8 64:ff9b:1::7f00:1
2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2001:2::1 2001:10::1
100::1 3fff::1 5f00::1 4000::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 ff0e::1
"""

PUBLIC = """
1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700:4700::1111 2a00:1450:4001::1
::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::
"""


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


@steady
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_by_itself(address: IPv4Address) -> None:
    number = int(address)
    clothed = [IPv6Address((0xFFFF << 32) | number), IPv6Address((0x2002 << 112) | (number << 80))]
    clothed.append(IPv6Address(f"64:ff9b::{address}"))
    assert {is_public(each) for each in clothed} == {is_public(address)}


@pytest.mark.parametrize("text", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::", "::ffff:169.254.169.254"])
def test_local_services(text: str) -> None:
    assert is_local_service(ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "10.1.2.3", "::1", "fd00::1"])
def test_private_networks_are_not_local_services(text: str) -> None:
    assert not is_local_service(ip_address(text))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "127.1", "0x7f.0.0.1", "2130706433", "127.0.0.01", "", "localhost"])
def test_only_canonical_literals_are_addresses(text: str) -> None:
    assert parse_address(text) is None

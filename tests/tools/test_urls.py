"""One reading of a URL, and the allow-list over it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from headrace.egress.domains import matches
from headrace.egress.errors import EgressDenied
from headrace.egress.urls import parse_url


def reason(url: str) -> str:
    with pytest.raises(EgressDenied) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    "url",
    [
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://017700000001/",
        "http://127.0.0.1.2/",
        "http://1.2.3.4.5/",
        "http://0x7f.0.0.0x1/",
        "http://example.org.0x1/",
        "http://[::1%25lo]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://[::127.0.0.1.1]/",
        "http://１２７.0.0.1/",  # noqa: RUF001
        "http://ⓛocalhost/",
        "http://①②⑦.0.0.1/",
        "http:///path",
        "http:example.org",
        "http://",
        "http://exa%6dple.org/",
        "http://exa mple.org/",
        "http://exam\tple.org/",
        "http://example.org\r\nx: y/",
        "http://good.org\\@evil.com/",
        "http://-bad.org/",
        "http://a..b/",
        "http://example.org:99999/",
        "http://example.org:0x50/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 130 + "org/",
        "http://example.org/" + "secret" * 2_000,
        "http://exa\x00mple.org/",
        "http://example.org/\x7f",
        "",
    ],
)
def test_malformed(url: str) -> None:
    assert reason(url) in ("malformed_url", "scheme")


@pytest.mark.parametrize(
    "url", ["ftp://x.org/", "file:///etc/passwd", "gopher://x.org:70/_", "ws://x.org/", "//x.org/", "x.org"]
)
def test_scheme(url: str) -> None:
    assert reason(url) == "scheme"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@x.org/",
        "http://x.org@evil.com/",
        "http://a@b@c.org/",
        "http://good.org%00@evil.com/",
        "http://@:x@y.org/",
    ],
)
def test_credentials(url: str) -> None:
    assert reason(url) == "userinfo"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://Example.ORG", "example.org", 443),
        ("http://example.org.", "example.org", 80),
        ("http://bücher.example/", "xn--bcher-kva.example", 80),
        ("http://ex。ample.org/", "ex.ample.org", 80),
        ("http://good.org#@evil.com/", "good.org", 80),
        ("http://good.org?@evil.com/", "good.org", 80),
        ("http://good.org:8080/a", "good.org", 8080),
        ("http://127.0.0.1/", "127.0.0.1", 80),
        ("http://[0:0::1]:8/", "::1", 8),
        ("http://[::ffff:7f00:1]/", str(ip_address("::ffff:7f00:1")), 80),
        ("https://_dmarc.x-y.org/", "_dmarc.x-y.org", 443),
    ],
)
def test_canonical_host_and_port(url: str, host: str, port: int) -> None:
    target = parse_url(url)
    assert (target.host, target.port) == (host, port)


def test_params_join_the_query() -> None:
    target = parse_url("https://x.org/a?b=1#frag", {"q": "a&b=c d", "n": [1, 2.5], "t": True, "u": "ü"})
    assert target.path == b"/a?b=1&q=a%26b%3Dc+d&n=1&n=2.5&t=true&u=%C3%BC"


def test_the_query_stays_out_of_repr() -> None:
    assert "secret" not in repr(parse_url("https://x.org/a?key=secret"))


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.org", "example.org"),
        ("example.org", "EXAMPLE.org."),
        ("a.example.org", "*.example.org"),
        ("a.b.example.org", "*.example.org"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_domain_covers_host(host: str, domain: str) -> None:
    assert matches(host, domain)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.org", "*.example.org"),
        ("badexample.org", "example.org"),
        ("badexample.org", "*.example.org"),
        ("a.example.org", "example.org"),
        ("example.org.evil.com", "example.org"),
        ("example.org", "*"),
        ("example.org", "*.org"),
        ("example.org", "*.*.org"),
        ("example.org", "*example.org"),
        ("example.org", "exam*.org"),
        ("example.org", ""),
        ("example.org", "https://example.org"),
        ("10.0.0.1", "*.0.0.1"),
    ],
)
def test_domain_does_not_cover_host(host: str, domain: str) -> None:
    assert not matches(host, domain)


def test_relative_redirects_keep_to_the_origin() -> None:
    target = parse_url("https://x.org:444/a/b?c=1")
    assert target.join("../d").path == b"/d"
    assert target.join("?e=2").origin == ("https", "x.org", 444)
    assert target.join("//y.org/z").origin == ("https", "y.org", 443)
    with pytest.raises(EgressDenied):
        target.join("file:///etc/passwd")
    with pytest.raises(EgressDenied):
        target.join("http://u:p@y.org/")

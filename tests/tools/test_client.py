"""The guarded client over real sockets: what it refuses, what it bounds, what it hands on."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace.egress import EgressDenied, EgressFailed, EgressPolicy, GuardedClient
from headrace.egress.body import read_bounded
from headrace.egress.policy import PrivateTargets
from tests.tools.servers import Internet, Names, Script, Seen, Server, always, response, routed, serving

PUBLIC = "93.184.216.34"
OTHER = "93.184.216.35"
DOMAINS = ("api.example.test", "*.open.test")


def names() -> Names:
    return Names(
        api_example_test=[[PUBLIC]],
        a_open_test=[[OTHER]],
        inside_open_test=[["10.0.0.7"]],
        half_open_test=[[PUBLIC, "127.0.0.1"]],
        meta_open_test=[["169.254.169.254"]],
        mapped_open_test=[["::ffff:127.0.0.1"]],
        scoped_open_test=[["fe80::1%eth0"]],
        empty_open_test=[[]],
        rebind_open_test=[[PUBLIC], ["127.0.0.1"]],
    )


class World:
    """A client that thinks it is on the internet, and all that was asked of DNS and network."""

    def __init__(self, server: Server, policy: EgressPolicy) -> None:
        self.server, self.dns, self.net = server, names(), Internet(server)
        self.client = GuardedClient(policy, resolver=self.dns, dial=self.net)

    async def get(self, url: str, domains: tuple[str, ...] = DOMAINS, **options: object):
        return await self.client.request("GET", url, domains=domains, **options)  # type: ignore[arg-type]

    async def denied(self, url: str, domains: tuple[str, ...] = DOMAINS) -> str:
        with pytest.raises(EgressDenied) as caught:
            await self.get(url, domains)
        assert "s3cret" not in str(caught.value)
        return caught.value.reason

    async def failed(self, url: str, **options: object) -> EgressFailed:
        with pytest.raises(EgressFailed) as caught:
            await self.get(url, **options)  # type: ignore[arg-type]
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in repr(caught.value.__cause__)
        return caught.value


@asynccontextmanager
async def world(script: Script, policy: EgressPolicy | None = None) -> AsyncIterator[World]:
    async with serving(script) as server:
        this = World(server, policy or EgressPolicy(timeout_s=30))
        async with this.client:
            yield this


OK = always(200, b'{"ok": true}', [("content-type", "application/json"), ("set-cookie", "a=b")])


async def test_a_response_is_handed_on_whole() -> None:
    async with world(OK) as w:
        answer = await w.get("http://api.example.test/p?key=s3cret", params={"q": "x y"})
        assert (answer.status, answer.body, answer.host) == (200, b'{"ok": true}', "api.example.test")
        assert answer.headers["content-type"] == "application/json"
        assert w.server.requests[0].target == "/p?key=s3cret&q=x+y"
        assert w.server.requests[0].headers["host"] == "api.example.test"
        assert w.net.dialled == [(PUBLIC, 80)]


async def test_post_sends_json_and_headers() -> None:
    async with world(OK) as w:
        await w.client.request(
            "POST", "http://api.example.test/", domains=DOMAINS, json={"a": [1]}, headers={"Idempotency-Key": "k1"}
        )
        seen = w.server.requests[0]
        assert (seen.method, seen.json, seen.headers["content-type"]) == ("POST", {"a": [1]}, "application/json")
        assert seen.headers["idempotency-key"] == "k1"


async def test_no_cookies_are_kept() -> None:
    async with world(OK) as w:
        for _ in range(2):
            await w.get("http://api.example.test/")
        assert all("cookie" not in seen.headers for seen in w.server.requests)


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with world(OK) as w:
        await w.get("http://api.example.test/")
        assert w.net.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("domains", [(), ("other.test",), ("*.api.example.test",), ("*",)])
async def test_a_host_off_the_list_is_not_even_resolved(domains: tuple[str, ...]) -> None:
    async with world(OK) as w:
        assert await w.denied("http://api.example.test/?k=s3cret", domains) == "domain"
        assert w.dns.queries == w.net.dialled == []


@pytest.mark.parametrize(
    "host",
    ["inside.open.test", "half.open.test", "meta.open.test", "mapped.open.test", "scoped.open.test"],
)
async def test_a_name_with_a_private_address_is_refused(host: str) -> None:
    async with world(OK) as w:
        assert await w.denied(f"http://{host}/") == "private_address"
        assert w.net.dialled == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"]
)
async def test_a_private_address_on_the_allow_list_is_still_refused(host: str) -> None:
    async with world(OK) as w:
        assert await w.denied(f"http://{host}/", (host.strip("[]"),)) == "private_address"
        assert w.net.dialled == []


async def test_a_second_answer_of_the_dns_changes_nothing() -> None:
    async with world(always(200, b"1", [("connection", "close")])) as w:
        await w.get("http://rebind.open.test/")
        assert w.net.dialled == [(PUBLIC, 80)]
        assert await w.denied("http://rebind.open.test/") == "private_address"
        assert w.net.dialled == [(PUBLIC, 80)]
        assert w.dns.queries == ["rebind.open.test"] * 2  # once a connection, never a second time in between


@pytest.mark.parametrize(
    "url", ["http://api.example.test:22/", "https://api.example.test:80800/", "http://api.example.test:6379/"]
)
async def test_ports(url: str) -> None:
    async with world(OK) as w:
        assert await w.denied(url) in ("port", "malformed_url")
        assert w.dns.queries == []


async def test_other_methods_are_refused() -> None:
    async with world(OK) as w:
        with pytest.raises(EgressDenied, match="method"):
            await w.client.request("CONNECT", "http://api.example.test/", domains=DOMAINS)


async def test_a_name_that_does_not_resolve() -> None:
    async with world(OK) as w:
        for host in ("missing.open.test", "empty.open.test"):
            failure = await w.failed(f"http://{host}/?s3cret")
            assert (failure.kind, failure.retryable) == ("dns", True)


# --- redirects -----------------------------------------------------------------------------------------------------------


def redirecting(location: str, status: int = 302) -> Script:
    return routed({"/": response(status, b"", [("location", location)]), "/end": response(200, b"end")})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_get_follows_redirects_within_the_rules(status: int) -> None:
    async with world(redirecting("http://a.open.test/end", status)) as w:
        answer = await w.get("http://api.example.test/", headers={"x-mine": "s3cret"})
        assert (answer.body, answer.host) == (b"end", "a.open.test")
        assert [seen.headers["host"] for seen in w.server.requests] == ["api.example.test", "a.open.test"]
        assert ["x-mine" in seen.headers for seen in w.server.requests] == [True, False]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/", "domain"),
        ("http://evil.test/?k=s3cret", "domain"),
        ("http://inside.open.test/", "private_address"),
        ("http://meta.open.test/latest/meta-data", "private_address"),
        ("http://a.open.test:22/", "port"),
        ("http://u:s3cret@a.open.test/", "userinfo"),
        ("file:///etc/passwd", "scheme"),
        ("//2130706433/", "malformed_url"),
        ("http://a.open.test\\@evil.test/", "malformed_url"),
    ],
)
async def test_each_redirect_is_checked_again(location: str, reason: str) -> None:
    async with world(redirecting(location)) as w:
        assert await w.denied("http://api.example.test/") == reason
        assert len(w.server.requests) == 1


async def test_a_redirected_post_is_refused() -> None:
    async with world(redirecting("http://a.open.test/end", 307)) as w:
        with pytest.raises(EgressDenied) as caught:
            await w.client.request("POST", "http://api.example.test/", domains=DOMAINS, json={})
        assert caught.value.reason == "redirect"


async def test_a_circle_of_redirects_ends() -> None:
    async with world(redirecting("/")) as w:
        failure = await w.failed("http://api.example.test/")
        assert (failure.kind, len(w.server.requests)) == ("too_many_redirects", 4)


# --- bodies --------------------------------------------------------------------------------------------------------------

SMALL = EgressPolicy(timeout_s=30, max_body_bytes=10_000)


def chunked(chunk: bytes, count: int, headers: bytes = b"", pause: float = 0) -> Script:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n" + headers + b"\r\n")
        for _ in range(count):
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(b"0\r\n\r\n")

    return script


async def test_a_body_at_the_bound_is_whole() -> None:
    async with world(chunked(b"x" * 1_000, 10), SMALL) as w:
        assert len((await w.get("http://api.example.test/")).body) == 10_000


@pytest.mark.parametrize(
    "script",
    [
        always(200, b"x" * 10_001),
        chunked(b"x" * 1_000, 11),
        chunked(b"x" * 1_000, 1_000_000_000),
    ],
)
async def test_an_over_long_body_is_refused(script: Script) -> None:
    async with world(script, SMALL) as w:
        failure = await w.failed("http://api.example.test/")
        assert (failure.kind, failure.retryable) == ("response_too_large", False)


def bomb(size: int) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(coder.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)) + coder.flush()


async def test_a_gzip_bomb_is_refused_at_the_bound() -> None:
    data = bomb(200_000_000)
    assert len(data) < 300_000
    policy = EgressPolicy(timeout_s=30, max_body_bytes=1_000_000)
    async with world(always(200, data, [("content-encoding", "gzip")]), policy) as w:
        assert (await w.failed("http://api.example.test/")).kind == "response_too_large"


@pytest.mark.parametrize(
    ("name", "encode"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_compressed_bodies_are_read(name: str, encode) -> None:
    text = b'{"a": "' + b"b" * 5_000 + b'"}'
    async with world(always(200, encode(text), [("content-encoding", name)]), SMALL) as w:
        assert (await w.get("http://api.example.test/")).body == text


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"not gzip", "gzip"),
        (gzip.compress(b"x" * 100)[:-5], "gzip"),
        (gzip.compress(b"x") + b"tail", "gzip"),
        (gzip.compress(gzip.compress(b"x")), "gzip, gzip"),
        (b"x", "br"),
    ],
    ids=["nonsense", "cut", "more", "twice", "unasked"],
)
async def test_a_body_that_is_not_what_it_says_is_refused(data: bytes, name: str) -> None:
    async with world(always(200, data, [("content-encoding", name)]), SMALL) as w:
        assert (await w.failed("http://api.example.test/")).kind == "bad_response"


async def test_a_slow_body_ends_at_the_total_timeout() -> None:
    async with world(chunked(b"x", 1_000_000, pause=0.02)) as w:
        failure = await w.failed("http://api.example.test/?k=s3cret", timeout_s=0.3)
        assert (failure.kind, failure.retryable) == ("timeout", True)


async def test_a_silent_server_ends_at_the_total_timeout() -> None:
    async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with world(silent) as w:
        assert (await w.failed("http://api.example.test/", timeout_s=0.2)).kind == "timeout"


async def test_a_server_that_hangs_up() -> None:
    async def gone(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with world(gone) as w:
        failure = await w.failed("http://api.example.test/?k=s3cret")
        assert (failure.kind, failure.retryable) == ("connection", True)


async def test_a_server_that_talks_nonsense() -> None:
    async def nonsense(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"s3cret nonsense\r\n\r\n")
        writer.close()

    async with world(nonsense) as w:
        assert (await w.failed("http://api.example.test/")).kind == "bad_response"


async def test_a_cut_body_is_not_taken_for_a_whole_one() -> None:
    async def cut(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf")
        writer.close()

    async with world(cut) as w:
        await w.failed("http://api.example.test/")


# --- private targets by name -----------------------------------------------------------------------------------------------


def allowing(*entries: str) -> EgressPolicy:
    return EgressPolicy(timeout_s=30, private=PrivateTargets.parse(list(entries)))


async def test_a_named_private_target_is_allowed() -> None:
    async with serving(OK) as server, GuardedClient(allowing(server.target)) as client:
        assert (await client.request("GET", server.url, domains=["127.0.0.1"])).status == 200
        with pytest.raises(EgressDenied, match="list of allowed domains"):  # the agent's own list holds all the same
            await client.request("GET", server.url, domains=["api.example.test"])


async def test_naming_one_port_allows_no_other() -> None:
    async with serving(OK) as server, GuardedClient(allowing("127.0.0.1:1")) as client:
        with pytest.raises(EgressDenied) as caught:
            await client.request("GET", server.url, domains=["127.0.0.1"])
        assert caught.value.reason == "port"


async def test_a_private_network_keeps_to_the_allowed_ports() -> None:
    async with world(OK, allowing("10.0.0.0/8")) as w:
        await w.get("http://inside.open.test/")
        assert w.net.dialled == [("10.0.0.7", 80)]
        assert await w.denied("http://inside.open.test:8080/") == "port"
        assert await w.denied("http://half.open.test/") == "private_address"


async def test_a_named_private_host_never_means_the_metadata_service() -> None:
    async with world(OK, allowing("meta.open.test:80", "inside.open.test:80")) as w:
        assert (await w.get("http://inside.open.test/")).status == 200
        assert await w.denied("http://meta.open.test/") == "private_address"


async def test_a_bomb_is_never_inflated_past_the_bound() -> None:
    data = bomb(100_000_000)

    async def one_chunk() -> AsyncIterator[bytes]:
        yield data

    tracemalloc.start()
    try:
        with pytest.raises(EgressFailed):
            await read_bounded(one_chunk(), "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()

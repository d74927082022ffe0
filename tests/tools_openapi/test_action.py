"""``openapi_action`` against a real HTTP server and a description of real size: calls, credentials, bounds, refusals."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import yaml

from headrace.auth_profiles import AuthProfiles
from headrace.blobs.memory import MemoryBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.tools.api import ToolFailure
from headrace.tools.openapi.action import ActionLimits, OpenapiAction
from headrace.tools.openapi.specs import SpecLimits
from tests.tools.helpers import granted
from tests.tools.servers import Internet, Names, Seen, Server, response, serving
from tests.tools_openapi.big_spec import big_spec

SECRET = "canary/0f7e+9a"  # its spellings in JSON, URLs and Base64 all differ
SPEC = orjson.dumps(big_spec(10))  # of the same shape; one test is about the size
PLAIN = {"plain_http": True, "hosts": ["127.0.0.1"]}


def profiles(server: Server) -> dict[str, Any]:
    oauth = {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "mesh", "client_secret": SECRET}
    return {
        "key": {"type": "api_key", "header": "X-Api-Key", "value": SECRET} | PLAIN,
        "in-query": {"type": "api_key", "query": "api_key", "value": SECRET} | PLAIN,
        "bearer": {"type": "bearer", "token": SECRET} | PLAIN,
        "basic": {"type": "basic", "username": "mesh", "password": SECRET} | PLAIN,
        "oauth": oauth | PLAIN,
        "oauth-body": oauth | PLAIN | {"send": "body", "scopes": ["a", "b"]},
        "elsewhere": {"type": "bearer", "token": SECRET, "hosts": ["api.example.org"], "plain_http": True},
        "https-only": {"type": "bearer", "token": SECRET, "hosts": ["127.0.0.1"]},
        "not-mine": {"type": "bearer", "token": SECRET, "agents": ["billing-*"]} | PLAIN,
    }


class World:
    """The tool, wired to a local server. ``now`` is its clock; ``say`` what the server answers next, by path."""

    def __init__(self, server: Server) -> None:
        self.server, self.blobs, self.now = server, MemoryBlobs(), 0.0
        self.answers: dict[str, list[bytes]] = {}
        self.tokens = 0

    async def script(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if waiting := self.answers.get(seen.path):
            writer.write(waiting.pop(0))
        elif seen.path == "/openapi.json":
            writer.write(response(200, SPEC, [("content-type", "application/json")]))
        elif seen.path == "/token":
            self.tokens += 1
            token = {"access_token": f"token-{self.tokens}-of-the-mesh", "expires_in": 300, "token_type": "Bearer"}
            writer.write(response(200, orjson.dumps(token)))
        else:
            echo = {"method": seen.method, "target": seen.target, "headers": seen.headers, "body": seen.body.decode()}
            writer.write(response(200, orjson.dumps(echo), [("content-type", "application/json")]))

    async def call(self, operation: str, params: dict[str, Any] | None = None, **more: Any) -> Any:
        grants = more.pop("grants", {})
        arguments = {
            "openapi_url": f"{self.server.url}/openapi.json",
            "operation_id": operation,
            "params": params or {},
        }
        return (await self.tool.run(arguments | more, granted(**grants))).content

    async def failure(self, *arguments: Any, **more: Any) -> ToolFailure:
        with pytest.raises(ToolFailure) as caught:
            await self.call(*arguments, **more)
        assert SECRET not in str(caught.value)
        return caught.value

    def asked(self, path: str) -> int:
        return sum(seen.path == path for seen in self.server.requests)


@contextlib.asynccontextmanager
async def worlds(limits: ActionLimits | None = None) -> AsyncIterator[World]:
    scripts: list[Any] = []

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await scripts[0](seen, writer)

    async with serving(script) as server:
        world = World(server)
        scripts.append(world.script)
        policy = EgressPolicy(timeout_s=30, private=PrivateTargets.parse([server.target, f"localhost:{server.port}"]))
        known = AuthProfiles.model_validate({"auth_profiles": profiles(server)}).auth_profiles
        async with GuardedClient(policy) as client:
            world.tool = OpenapiAction(client, world.blobs, known, limits, timer=lambda: world.now)  # type: ignore[attr-defined]
            yield world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with worlds() as one:
        yield one


async def test_operations_of_a_description_of_real_size(world: World) -> None:
    whole = orjson.dumps(big_spec())
    assert len(whole) > 1_000_000
    world.answers["/openapi.json"] = [response(200, whole), response(200, whole)]
    listed = await world.call("kind7/list", {"page": 2, "labels": ["a", "b,c"]})
    assert (listed["status"], listed["body"]["target"]) == (200, "/v3/kinds7?page=2&labels=a,b%2Cc")
    assert "idempotency-key" not in listed["body"]["headers"]
    made = (await world.call("kind219/create", {"body": {"name": "x", "owner": None, "next": {"name": "y"}}}))["body"]
    assert (made["method"], made["target"]) == ("POST", "/v3/kinds219")
    assert made["headers"]["content-type"] == "application/json"
    assert made["headers"]["idempotency-key"] == "key-1"
    assert orjson.loads(made["body"]) == {"name": "x", "owner": None, "next": {"name": "y"}}
    assert (await world.call("kind3/update", {"id": 5, "body": {"name": "z"}}))["body"]["method"] == "PATCH"
    assert (await world.call("kind3/delete", {"id": 5}))["body"]["target"] == "/v3/kinds3/5"
    assert world.asked("/openapi.json") == 1
    world.now = 901
    await world.call("kind7/list")
    assert world.asked("/openapi.json") == 2


async def test_the_same_description_in_yaml(world: World) -> None:
    world.answers["/openapi.json"] = [response(200, yaml.safe_dump(big_spec(10)).encode())]
    assert (await world.call("kind9/get", {"id": 1}))["body"]["target"] == "/v3/kinds9/1"


async def test_many_who_ask_at_once_fetch_it_once(world: World) -> None:
    await asyncio.gather(*(world.call(f"kind{index}/list") for index in range(8)))
    assert world.asked("/openapi.json") == 1


async def test_wrong_names_are_answered_with_what_there_is(world: World) -> None:
    failure = await world.failure("kind7/lst")
    assert failure.type == "invalid_arguments"
    assert "kind7/list" in str(failure)
    assert "of 50 there are" in str(failure)
    assert (await world.failure("kind7/get", {"id": "one"})).type == "invalid_arguments"


@pytest.mark.parametrize(
    ("profile", "header", "value"),
    [
        ("key", "x-api-key", SECRET),
        ("bearer", "authorization", f"Bearer {SECRET}"),
        ("basic", "authorization", "Basic " + base64.b64encode(f"mesh:{SECRET}".encode()).decode()),
        ("oauth", "authorization", "Bearer token-1-of-the-mesh"),
    ],
)
async def test_credentials_reach_the_api_and_nobody_else(world: World, profile: str, header: str, value: str) -> None:
    """The server repeats all that it was told; none of it comes back to the model."""
    answer = await world.call("kind1/list", auth_profile=profile)
    sent = next(seen for seen in world.server.requests if seen.path == "/v3/kinds1")
    assert sent.headers[header] == value
    told = orjson.dumps(answer).decode()
    assert "[secret]" in told
    for secret in (SECRET, value, value.removeprefix("Basic "), "token-1-of-the-mesh"):
        assert secret not in told
    assert all(SECRET not in str(seen.headers) for seen in world.server.requests if seen.path == "/openapi.json")


async def test_a_key_in_the_query(world: World) -> None:
    answer = await world.call("kind1/list", {"page": 1}, auth_profile="in-query")
    assert world.server.requests[-1].query == {"page": ["1"], "api_key": [SECRET]}
    assert answer["body"]["target"] == "/v3/kinds1?page=1&api_key=[secret]"


@pytest.mark.parametrize("form", ["json", "escaped", "url", "base64", "error"])
async def test_an_api_that_repeats_the_secret_in_other_spellings(world: World, form: str) -> None:
    coded = {
        "json": orjson.dumps({"a": SECRET}).replace(b"/", b"\\/"),
        "escaped": b'{"a": "' + "".join(f"\\u{ord(c):04x}" for c in SECRET).encode() + b'"}',
        "url": b'"x=canary%2F0f7e%2B9a"',
        "base64": b'"' + base64.b64encode(SECRET.encode()) + b'"',
        "error": b"bad key " + SECRET.encode(),
    }[form]
    world.answers["/v3/kinds1"] = [response(401 if form == "error" else 200, coded)]
    if form == "error":
        assert "bad key [secret]" in str(await world.failure("kind1/list", auth_profile="key"))
    else:
        assert "[secret]" in str(await world.call("kind1/list", auth_profile="key"))


async def test_tokens_are_kept_renewed_in_time_and_once_when_refused(world: World) -> None:
    for _ in range(3):
        await world.call("kind1/list", auth_profile="oauth")
    assert world.tokens == 1
    asked = next(seen for seen in world.server.requests if seen.path == "/token")
    assert asked.body == b"grant_type=client_credentials"
    assert asked.headers["authorization"].startswith("Basic ")
    world.now = 271
    await world.call("kind1/list", auth_profile="oauth")
    assert world.tokens == 2
    world.answers["/v3/kinds1"] = [response(401)]
    assert (await world.call("kind1/list", auth_profile="oauth"))["status"] == 200
    assert world.tokens == 3
    world.answers["/v3/kinds1"] = [response(401), response(401)]
    assert (await world.failure("kind1/list", auth_profile="oauth")).type == "http_status"
    await world.call("kind1/list", auth_profile="oauth-body")
    asked = [seen for seen in world.server.requests if seen.path == "/token"][-1]
    assert b"client_secret=canary%2F0f7e%2B9a" in asked.body
    assert b"scope=a+b" in asked.body


async def test_a_token_endpoint_that_fails_says_nothing_of_the_secret(world: World) -> None:
    world.answers["/token"] = [response(400, SECRET.encode())]
    failure = await world.failure("kind1/list", auth_profile="oauth")
    assert (failure.type, failure.retryable) == ("auth_profile", True)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("elsewhere", "not for this host"),
        ("https-only", "for https only"),
        ("not-mine", "no auth profile 'not-mine'"),
        ("unknown", "there are: basic, bearer"),
    ],
)
async def test_profiles_are_for_whom_and_where_they_say(world: World, profile: str, said: str) -> None:
    failure = await world.failure("kind1/list", auth_profile=profile)
    assert failure.type == "auth_profile"
    assert said in str(failure)
    assert world.asked("/v3/kinds1") == 0


async def test_a_redirect_takes_no_credential_to_another_host() -> None:
    """Two hosts of one server: the second one is allowed to be called, and is not told."""
    location = [("location", "http://other.example.test/v3/kinds1")]

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        spec = response(200, SPEC)
        moved = response(302, b"", location) if seen.headers["host"] == "api.example.test" else response(200, b"{}")
        writer.write(spec if seen.path == "/openapi.json" else moved)

    public = [["93.184.216.34"]]
    async with serving(script) as server:
        names = Names(api_example_test=public, other_example_test=public)
        key = {"auth_profiles": {"key": profiles(server)["key"] | {"hosts": ["api.example.test"]}}}
        async with GuardedClient(EgressPolicy(timeout_s=30), resolver=names, dial=Internet(server)) as client:
            tool = OpenapiAction(client, MemoryBlobs(), AuthProfiles.model_validate(key).auth_profiles)
            url = "http://api.example.test/openapi.json"
            arguments = {"openapi_url": url, "operation_id": "kind1/list", "auth_profile": "key"}
            domains = ("api.example.test", "other.example.test")
            assert (await tool.run(arguments, granted(domains=domains))).content == {"status": 200, "body": {}}
            first, second = server.requests[-2:]
            assert first.headers["x-api-key"] == SECRET
            assert "x-api-key" not in second.headers
            create = arguments | {"operation_id": "kind1/create", "params": {"body": {"name": "x"}}}
            with pytest.raises(ToolFailure, match="redirects a POST"):
                await tool.run(create, granted(domains=domains))


async def test_the_allow_list_counts_for_the_description_and_for_its_servers(world: World) -> None:
    named = big_spec(10) | {"servers": [{"url": f"{world.server.url}/v3"}]}
    world.answers["/named.json"] = [response(200, orjson.dumps(named))]
    url = world.server.url.replace("127.0.0.1", "localhost") + "/named.json"
    await world.call("kind1/list", openapi_url=url, grants={"domains": ("127.0.0.1", "localhost")})
    failure = await world.failure("kind1/list", openapi_url=url)  # it is kept by now, and still not for everybody
    assert (failure.type, "localhost is not on the list" in str(failure)) == ("egress_denied", True)
    assert world.asked("/v3/kinds1") == 1
    elsewhere = big_spec(10) | {"servers": [{"url": "https://evil.example.net"}]}
    world.answers["/other.json"] = [response(200, orjson.dumps(elsewhere))]
    failure = await world.failure("kind1/list", openapi_url=f"{world.server.url}/other.json")
    assert (failure.type, "evil.example.net" in str(failure)) == ("egress_denied", True)
    meta = big_spec(10) | {"servers": [{"url": "http://169.254.169.254/latest"}]}
    world.answers["/meta.json"] = [response(200, orjson.dumps(meta))]
    grants = {"domains": ("127.0.0.1", "169.254.169.254")}
    failure = await world.failure("kind1/list", openapi_url=f"{world.server.url}/meta.json", grants=grants)
    assert "not on the public internet" in str(failure)


async def test_answers_small_large_and_strange(world: World) -> None:
    rows = [{"n": n, "text": "x" * 50} for n in range(20_000)]
    world.answers["/v3/kinds1"] = [
        response(200, orjson.dumps(rows)),
        response(204),
        response(200, b"<p>hi", [("content-type", "text/html")]),
        response(200, b"{", [("content-type", "application/json")]),
        response(503, b"try   later"),
        response(200, b"p" * 5_000, [("content-type", "text/plain")]),
    ]
    large = await world.call("kind1/list")
    assert (large["status"], large["bytes"] > 1_000_000, large["preview"][0]["n"]) == (200, True, 0)
    assert orjson.loads(await world.blobs.get(large["result_ref"])) == rows
    assert await world.call("kind1/list") == {"status": 204, "body": None}
    assert await world.call("kind1/list") == {"status": 200, "body": "<p>hi"}
    assert (await world.failure("kind1/list")).type == "bad_json"
    busy = await world.failure("kind1/list")
    assert (busy.type, busy.retryable, str(busy)) == (
        "http_status",
        True,
        "127.0.0.1 answered with HTTP status 503: try later",
    )
    assert orjson.loads(await world.blobs.get((await world.call("kind1/list"))["result_ref"])) == "p" * 5_000


async def test_bounds_of_a_description() -> None:
    async with worlds(ActionLimits(specs=SpecLimits(max_bytes=10_000))) as world:
        assert (await world.failure("kind1/list")).type == "http_response_too_large"
        world.answers["/openapi.json"] = [response(404)]
        assert "HTTP status 404 instead" in str(await world.failure("kind1/list"))
        outside = {"openapi": "3.1.0", "x": {"$ref": "https://evil.example/x"}}
        world.answers["/openapi.json"] = [response(200, orjson.dumps(outside))]
        assert (await world.failure("kind1/list")).type == "bad_spec"
        assert {seen.path for seen in world.server.requests} == {"/openapi.json"}

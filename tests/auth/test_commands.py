"""``headrace auth`` against a composed gateway on real servers: what it makes is let in, what it revokes is not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from headrace.local.endpoints import Endpoints
from tests.cli.support import headrace
from tests.gateway.test_flow import gateway, prepared, ready, until

SECRET = "planted-secret-of-the-commands-0123456789"
EVENT = ("events", "send", "--source", "shop", "--type", "t", "--json")


async def test_keys_and_tokens_from_their_making_to_their_revocation(
    stack: Endpoints, namespace: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AUTH_SECRET": SECRET, "GATEWAY_PORT": "0", "AUTH_CACHE_S": "0.1"}.items():
        monkeypatch.setenv(f"HEADRACE_{name}", value)
    settings = await prepared(stack.kafka_bootstrap_servers, stack, namespace, database_url)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
        "DATABASE_URL": database_url,
        "HEADRACE_AUTH_SECRET": SECRET,
    }

    async def run(*arguments: str, stdin: str = "", code: int = 0, **more: str) -> Any:
        done = await asyncio.to_thread(headrace, *arguments, stdin=stdin, **environment, **more)
        assert done.returncode == code, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    async with gateway(settings) as (server, client):
        await ready(client)
        assert server.status()["auth"] == "on"

        async def status(credential: str) -> int:
            headers = {"authorization": f"Bearer {credential}"}
            answer: httpx2.Response = await client.get("/v1/agents", headers=headers)
            return answer.status_code

        async def refused(credential: str) -> bool:
            return await status(credential) == 401

        key, token = await asyncio.gather(
            run("auth", "keys", "create", "--name", "ci", "--role", "developer", "--json"),
            run("auth", "token", "issue", "--subject", "alice", "--role", "viewer", "--json"),
        )
        assert await status(key["key"]) == await status(token["token"]) == 200
        [sent], [unsent] = await asyncio.gather(
            run(*EVENT, HEADRACE_API_KEY=key["key"], HEADRACE_GATEWAY_URL=server.url),
            run(*EVENT, HEADRACE_GATEWAY_URL=server.url, code=1),
        )
        assert (sent["status"], unsent["status"]) == (202, 401)

        _, _, missing, not_an_id = await asyncio.gather(
            run("auth", "keys", "revoke", key["id"], "--json"),
            run("auth", "token", "revoke", "-", "--json", stdin=token["token"]),
            run("auth", "keys", "revoke", "0" * 16, code=4),
            run("auth", "token", "revoke", token["token"], code=2),
        )
        await until(lambda: refused(key["key"]))
        await until(lambda: refused(token["token"]))
        assert token["token"] not in not_an_id
        assert "no key" in missing
        [listed] = await run("auth", "keys", "list", "--json")
        assert (listed["id"], listed["name"], listed["role"], listed["state"]) == (
            key["id"],
            "ci",
            "developer",
            "revoked",
        )
        assert key["key"] not in json.dumps(listed)
        bound = ("--name", "b", "--owner", "bob", "--owner", "ada", "--json")
        create = "auth", "keys", "create", *bound, "--role"
        made, anybody, *_ = await asyncio.gather(
            run(*create, "developer"),
            run("auth", "keys", "create", "--name", "web", "--role", "developer", "--any-owner", "--json"),
            run(*create, "admin", code=2),
            run(*create, "developer", "--any-owner", code=2),
        )
        listed = {one["id"]: one["owners"] for one in await run("auth", "keys", "list", "--json")}
        assert listed == {key["id"]: ["ci"], made["id"]: ["ada", "bob"], anybody["id"]: None}
        assert token["owners"] == ["alice"], "without --owner it speaks for itself"
        bound = ("--subject", "jo", "--role", "developer", "--owner", "jo", "--owner", "shop-team", "--json")
        assert (await run("auth", "token", "issue", *bound))["owners"] == ["jo", "shop-team"]

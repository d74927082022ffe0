"""``headrace webhooks list`` and ``test``, against a gateway's real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.gateway.app import create_app
from headrace.gateway.ports import utc_now
from tests.cli.conftest import Done, Run
from tests.gateway.senders import CONFIGS, secrets
from tests.gateway.support import Gateway, served

PROVABLE = sorted(CONFIGS.keys() - {"sns"})


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ``.env`` of anybody's."""
    monkeypatch.chdir(tmp_path)


def in_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)


def now_gateway(environ: dict[str, str] | None = None) -> Gateway:
    """A gateway whose clock is right, since the command's is."""
    gateway = Gateway(secrets() if environ is None else environ)
    gateway.app = create_app(replace(gateway.deps, now=utc_now))
    return gateway


async def tried(run: Run, gateway: Gateway, *names: str) -> list[Done]:
    async with served(gateway) as server:
        return [
            await asyncio.to_thread(run, "webhooks", "test", name, "--gateway", server.url, "--json") for name in names
        ]


async def test_every_example_is_taken_by_a_running_gateway(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, secrets())
    gateway = now_gateway()
    for name, done in zip(PROVABLE, await tried(run, gateway, *PROVABLE), strict=True):
        assert done.code == 0, f"{name}: {done.err}{done.out}"
        assert {row["status"] for row in done.json} == {202}
        assert "planted" not in done.out + done.err
    sources = {send.message.headers["ce_source"] for send in gateway.publisher.sends}  # type: ignore[attr-defined]
    assert sources == {f"/webhooks/{name}" for name in PROVABLE}


async def test_each_time_it_is_another_delivery(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, secrets())
    gateway = now_gateway()
    await tried(run, gateway, "gitlab", "gitlab")
    assert len({send.message.record_key() for send in gateway.publisher.sends}) == len(gateway.publisher.sends) == 4


async def test_another_secret_than_the_gateway_s_exits_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, secrets() | {"HEADRACE_WEBHOOK_SECRET_STRIPE": "another"})
    gateway = now_gateway()
    [done] = await tried(run, gateway, "stripe")
    assert (done.code, [row["status"] for row in done.json]) == (1, [401])


async def test_a_source_that_was_opened_needs_no_secret(run: Run) -> None:
    gateway = Gateway({}, webhook_open="alertmanager")
    [done] = await tried(run, gateway, "alertmanager")
    assert (done.code, [row["status"] for row in done.json]) == (0, [202])


async def test_a_source_of_one_s_own_brings_its_examples(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources" / "examples").mkdir(parents=True)
    (tmp_path / "sources" / "own.yaml").write_text(
        "{name: own, description: Ours, auth: {scheme: hmac, header: x-sig}, delivery_id: {body: /id}}"
    )
    (tmp_path / "sources" / "examples" / "own.yaml").write_text('[{name: one, body: {id: "{{id}}"}}]')
    own = {"HEADRACE_WEBHOOK_SECRET_OWN": "planted"}
    in_environment(monkeypatch, own | {"HEADRACE_SOURCES_DIR": str(tmp_path / "sources")})
    [done] = await tried(run, Gateway(own, sources_dir=tmp_path / "sources"), "own")
    assert (done.code, [row["event"] for row in done.json]) == (0, ["one"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody",), 4, "no webhook source is called 'nobody'"),
        (("stripe", "--only", "nothing"), 4, "no example called 'nothing'"),
        (("stripe",), 2, "set HEADRACE_WEBHOOK_SECRET_STRIPE"),
        (("gitlab",), 2, "GITLAB_SIGNING or HEADRACE_WEBHOOK_SECRET_GITLAB"),
        (("sns",), 2, "only sns itself can sign"),
        (("alertmanager",), 3, "does not answer"),
    ],
)
def test_what_can_not_be_tried_is_told(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run("webhooks", "test", *arguments, "--gateway", "http://127.0.0.1:9")
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_the_list_says_what_is_set_and_never_to_what(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WEBHOOK_SECRET_GITLAB_SIGNING", "planted")
    listed, plain = run("webhooks", "list", "--json"), run("webhooks", "list")
    assert [row["source"] for row in listed.json] == list(CONFIGS)
    assert [row["source"] for row in listed.json if row["configured"]] == ["gitlab"]
    assert all(row["setup"] and row["variables"] for row in listed.json)
    assert "planted" not in listed.out + plain.out
    assert "gitlab" in plain.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "by their ids, or a range"),
        (("--since", "yesterday"), "not an ISO 8601 time"),
        (("--source", "x"), "--since"),
    ],
)
def test_a_redelivery_says_which(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run("webhooks", "redeliver", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err

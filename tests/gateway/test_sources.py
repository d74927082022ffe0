"""Sources are data: what a file may say, where secrets come from, and what stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.gateway.secrets import secret_variable
from headrace.gateway.settings import GatewaySettings, split, webhook_secrets
from headrace.gateway.sources.load import load_sources
from headrace.messages.errors import FatalError
from tests.gateway.support import Gateway, github_headers, signature

FORGE = """
name: forge
description: A forge of our own
auth: {scheme: hmac, header: x-hub-signature, prefix: "sha256="}
trust_headers: true
delivery_id: {header: x-request-uuid}
event_type: {header: x-event-key}
headers: [x-event-key]
"""


def signed(template: str, more: str = "") -> str:
    """A source that signs ``template``."""
    return FORGE.replace('prefix: "sha256="', f'signed: "{template}"' + (f", {more}" if more else ""))


def settings(directory: Path, **more: str) -> GatewaySettings:
    return GatewaySettings(_env_file=None, sources_dir=directory, **more)


async def test_a_file_in_the_directory_is_a_new_source(tmp_path: Path) -> None:
    (tmp_path / "forge.yaml").write_text(FORGE)
    (tmp_path / "README.md").write_text("not a source")
    gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_FORGE": "s"}, sources_dir=tmp_path)
    headers = {
        "content-type": "application/json",
        "x-hub-signature": signature(b"{}", "s"),
        "x-request-uuid": "u-1",
        "x-event-key": "repo:push",
    }
    response = await gateway.post("/webhooks/forge", b"{}", headers)
    assert (response.status_code, response.json()) == (202, {"delivery_id": "u-1"})
    assert (await gateway.post("/webhooks/forge", b"{}", github_headers(b"{}"))).status_code == 401


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FORGE.replace("name: forge", "name: github"), "the name 'github' is taken"),
        (FORGE.replace("[x-event-key]", "[x-event-key, authorization]"), "can't be forwarded"),
        (FORGE.replace("[x-event-key]", "[x-hub-signature]"), "can't be forwarded"),
        (FORGE.replace("[x-event-key]", "[Cookie]"), "/headers/0"),
        (FORGE.replace("hmac", "rot13"), "/auth"),
        (FORGE + "unknown: 1\n", "/unknown"),
        (FORGE.replace("header: x-hub-signature, ", ""), "/auth/0/hmac/header"),
        (FORGE.replace("trust_headers: true", ""), "no signature covers x-event-key, x-request-uuid"),
        (FORGE.replace("header: x-request-uuid", "header: x-request-uuid, body: /id"), "either header or body"),
        (FORGE.replace("name: forge", "name: gitlab-signing"), "GITLAB_SIGNING belongs to 'gitlab'"),
        (signed("{timestamp}.{body}"), "belong together"),
        (signed("{id}.{body}"), "belong together"),
        (signed("{body}", "timestamp: {header: x-time}"), "belong together"),
        (signed("{body}.{timestamp}", "timestamp: {header: x-time}"), "must end with"),
        (signed("{timestamp}{body}", "timestamp: {header: x-time}"), "followed by text"),
        (signed("{id}{timestamp}.{body}", "timestamp: {header: x-time}, id: x-id"), "followed by text"),
        (signed("{secret}.{body}"), "only {body}"),
        (signed("{timestamp}.{body}", "timestamp: {item: t=}"), "needs a separator"),
        (signed("{timestamp}.{body}", "timestamp: {}"), "either header or item"),
        ("[unclosed", "not YAML"),
        ("!!python/object/apply:os.system [id]", "not YAML"),
        ("just text", "(?i)valid dictionary|source"),
    ],
)
def test_a_file_that_is_no_source_stops_the_start(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(FatalError, match=message) as caught:
        load_sources(settings(tmp_path), {})
    assert "x.yaml" in str(caught.value)


def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="HEADRACE_SOURCES_DIR"):
        load_sources(settings(tmp_path / "none"), {})


@pytest.mark.parametrize("name", ["github", "nobody"])
def test_only_sources_without_signatures_can_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(FatalError, match="HEADRACE_WEBHOOK_OPEN"):
        load_sources(settings(tmp_path, webhook_open=name), {})


def test_secrets_are_lists_of_either_kind() -> None:
    assert split("a, b ,,c") == ("a", "b", "c")
    assert split('["a,b", " c "]') == ("a,b", " c ")
    assert split("") == ()
    assert secret_variable("my-source") == "HEADRACE_WEBHOOK_SECRET_MY_SOURCE"
    assert webhook_secrets("my-source", {"HEADRACE_WEBHOOK_SECRET_MY_SOURCE": "a,b"}) == (b"a", b"b")


@pytest.mark.parametrize("value", ["[planted", "[1]"])
def test_a_broken_secret_list_is_named_not_shown(value: str) -> None:
    with pytest.raises(FatalError, match="HEADRACE_WEBHOOK_SECRET_X") as caught:
        webhook_secrets("x", {"HEADRACE_WEBHOOK_SECRET_X": value})
    assert "planted" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_GATEWAY_PORT", "9999")
    monkeypatch.setenv("HEADRACE_EVENTS_TOKEN", "a,b")
    monkeypatch.setenv("HEADRACE_WEBHOOK_OPEN", "alertmanager")
    read = GatewaySettings(_env_file=None)
    assert (read.gateway_host, read.gateway_port, read.webhook_open) == ("127.0.0.1", 9999, ("alertmanager",))
    assert [token.get_secret_value() for token in read.events_token] == ["a", "b"]
    assert "a" not in repr(read.events_token).replace("SecretStr", "")

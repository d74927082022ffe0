"""GitHub: every example body of others becomes one event; what it is named follows the CloudEvents adapter."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.messages.event import Event
from tests.ingest.records import RECEIVED, at, events, github, processor

ROOT = Path(__file__).parents[2]
# Beside the checkout; a worktree of it is often one folder deeper.
PLACES = [ROOT / "../shared/payloads", ROOT / "../../shared/payloads"]
PAYLOADS = [Path(os.environ["HEADRACE_TEST_PAYLOADS"])] if "HEADRACE_TEST_PAYLOADS" in os.environ else PLACES
FILES = next((files for folder in PAYLOADS if (files := sorted((folder / "github").glob("*/*.json")))), [])


async def one(event: str, body: Any) -> Event:
    (found,) = events(await processor().handle(github(event, body), at()))
    return found


@pytest.mark.skipif(
    not FILES, reason="no example bodies in ../shared/payloads/github; HEADRACE_TEST_PAYLOADS names another folder"
)
def test_all_example_bodies_are_there() -> None:
    assert len(FILES) >= 141


@pytest.mark.parametrize(
    "file", FILES, ids=[f"{file.parent.name}-{file.name.partition('.payload')[0]}" for file in FILES]
)
async def test_example_body(file: Path) -> None:
    body = await asyncio.to_thread(file.read_bytes)
    event = await one(file.parent.name, body)
    assert event == await one(file.parent.name, body)
    data = orjson.loads(body)
    assert event.data == data
    action = data.get("action")
    assert event.type == f"com.github.{file.parent.name}" + (f".{action}" if action else "")
    assert event.source.startswith(("https://github.com/", "http://github.com/"))
    assert event.id == "gh-1"
    assert event.actor == data["sender"]["login"]
    if "repository" in data:
        assert event.partition_key == data["repository"]["full_name"]
        assert event.source == data["repository"]["html_url"]
    assert event.time.endswith("Z")


REPOSITORY = {"full_name": "acme/shop", "name": "shop", "html_url": "https://github.com/acme/shop"}
T = "2026-03-02T10:00:00Z"


@pytest.mark.parametrize(
    ("event", "body", "subject", "time"),
    [
        ("pull_request", {"action": "opened", "pull_request": {"number": 7, "id": 1, "updated_at": T}}, "7", T),
        ("issues", {"action": "opened", "issue": {"number": 7, "id": 1, "updated_at": T}}, "7", T),
        ("issue_comment", {"comment": {"id": 5, "updated_at": T}, "issue": {"number": 7}}, "5", T),
        ("check_run", {"check_run": {"id": 5, "completed_at": T, "started_at": "2026-01-01T00:00:00Z"}}, "5", T),
        ("check_run", {"check_run": {"id": 5, "completed_at": None, "started_at": T}}, "5", T),
        ("push", {"ref": "refs/heads/main", "repository": {"pushed_at": 1772445600}}, "refs/heads/main", T),
        ("push", {"ref": "refs/heads/main"}, "refs/heads/main", RECEIVED),
        ("create", {"ref": "v1", "ref_type": "tag"}, "v1", RECEIVED),
        ("release", {"release": {"id": 9, "published_at": T, "created_at": "2026-01-01T00:00:00Z"}}, "9", T),
        ("status", {"sha": "abc", "updated_at": T}, "abc", T),
        ("dependabot_alert", {"alert": {"number": 3, "updated_at": T}}, "3", T),
        ("repository_vulnerability_alert", {"alert": {"id": 4, "number": 3}}, "4", RECEIVED),
        ("workflow_run", {"workflow_run": {"id": 8, "updated_at": T}}, "8", T),
        ("label", {"label": {"id": 1, "name": "bug"}}, "bug", RECEIVED),
        ("watch", {"action": "started"}, None, RECEIVED),
        ("something_new", {"action": "done", "something_new": {"id": 2, "created_at": T}}, "2", T),
    ],
)
async def test_subject_and_time(event: str, body: dict[str, Any], subject: str | None, time: str) -> None:
    repository = {**REPOSITORY, **body.get("repository", {})}
    found = await one(event, {**body, "repository": repository})
    assert (found.subject, found.time) == (subject, time)


@pytest.mark.parametrize(
    ("body", "key", "source"),
    [
        ({"repository": REPOSITORY, "organization": {"login": "acme"}}, "acme/shop", "https://github.com/acme/shop"),
        ({"repository": {"full_name": "a/b"}}, "a/b", "https://github.com/a/b"),
        ({"repository": {"full_name": "a/b", "html_url": "javascript:alert(1)"}}, "a/b", "https://github.com/a/b"),
        ({"organization": {"login": "acme"}, "installation": {"id": 3}}, "acme", "https://github.com/acme"),
        ({"installation": {"id": 3}, "sender": {"login": "dana"}}, "3", "https://github.com/dana"),
        ({"sender": {"login": "dana", "html_url": "https://github.com/dana"}}, "dana", "https://github.com/dana"),
        (
            {"repository": {"full_name": "a/b", "html_url": "https://ghe.acme.org/a/b"}},
            "a/b",
            "https://ghe.acme.org/a/b",
        ),
        ({}, "github", "https://github.com"),
    ],
)
async def test_key_and_source_fall_back(body: dict[str, Any], key: str, source: str) -> None:
    found = await one("ping", body)
    assert (found.partition_key, found.source) == (key, source)


async def test_an_action_that_is_free_text_stays_out_of_the_type() -> None:
    assert (await one("repository_dispatch", {"action": "on-demand-test"})).type.endswith(".on-demand-test")
    assert (await one("repository_dispatch", {"action": "a b\n*"})).type == "com.github.repository_dispatch"


@pytest.mark.parametrize(
    ("alert", "severity"),
    [
        ({"security_vulnerability": {"severity": "high"}, "security_advisory": {"severity": "low"}}, "high"),
        ({"rule": {"severity": "error", "security_severity_level": "critical"}}, "critical"),
        ({"rule": {"severity": "error"}}, "error"),
        ({"severity": "moderate"}, "moderate"),
        ({}, None),
    ],
)
async def test_severity(alert: dict[str, Any], severity: str | None) -> None:
    assert (await one("dependabot_alert", {"alert": alert})).severity == severity

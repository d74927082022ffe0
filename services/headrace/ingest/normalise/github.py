"""GitHub webhooks.

Id, subject and time follow the CloudEvents adapter for GitHub (cloudevents/spec, ``cloudevents/adapters/github.md``), with the rows
that it lacks (alerts, workflows, discussions) by the same pattern. Two things differ on purpose: types are
``com.github.<event>[.<action>]`` with GitHub's own event names, and the source is the repository's web address for all events of
a repository, so that they share a context. Where the adapter says "current time" it is the time of reception, which a re-read
repeats.
"""

from __future__ import annotations

import re
from typing import Any, Final

from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.paths import first_text, first_time, text
from headrace.messages.errors import RejectedMessage

_EVENT: Final = re.compile(r"[a-z0-9_]{1,64}")
_ACTION: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")  # repository_dispatch: any text of its caller
_WEB: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")

# event -> the object that it is about, where that is not named like the event
_OBJECT: Final = {
    "code_scanning_alert": "alert",
    "commit_comment": "comment",
    "dependabot_alert": "alert",
    "fork": "forkee",
    "installation_repositories": "installation",
    "issue_comment": "comment",
    "issues": "issue",
    "meta": "hook",
    "page_build": "build",
    "ping": "hook",
    "pull_request_review": "review",
    "pull_request_review_comment": "comment",
    "pull_request_review_thread": "pull_request",
    "repository_import": "repository",
    "repository_vulnerability_alert": "alert",
    "secret_scanning_alert": "alert",
    "branch_protection_rule": "rule",
    "public": "repository",
    "team_add": "team",
}

# event -> path of the subject; any other event: the number, else the id, of its object
_SUBJECT: Final = {
    "create": "ref",
    "delete": "ref",
    "deployment_status": "deployment_status.url",
    "fork": "forkee.url",
    "label": "label.name",
    "marketplace_purchase": "marketplace_purchase.account.login",
    "member": "member.login",
    "membership": "member.login",
    "merge_group": "merge_group.head_sha",
    "meta": "hook_id",
    "organization": "membership.user.login",
    "org_block": "blocked_user.login",
    "page_build": "build.url",
    "ping": "hook_id",
    "project": "project.id",
    "public": "repository.name",
    "push": "ref",
    "registry_package": "registry_package.html_url",
    "repository": "repository.name",
    "repository_import": "repository.name",
    "repository_vulnerability_alert": "alert.id",
    "security_advisory": "security_advisory.ghsa_id",
    "status": "sha",
    "workflow_dispatch": "workflow",
}

# event -> paths of the time, the first that is one; any other event: _OBJECT_TIMES of its object
_TIME: Final = {
    "check_run": ("check_run.completed_at", "check_run.started_at"),
    "marketplace_purchase": ("effective_date",),
    "pull_request_review_comment": ("pull_request.updated_at",),
    "push": ("repository.pushed_at",),  # seconds since 1970, in this event only
    "star": ("starred_at",),
    "status": ("updated_at",),
}
_OBJECT_TIMES: Final = ("updated_at", "completed_at", "submitted_at", "published_at", "started_at", "created_at")
_SUBJECTLESS: Final = frozenset({"gollum", "github_app_authorization", "repository_dispatch", "star", "watch"})

_KEY: Final = ("repository.full_name", "organization.login", "installation.id", "sender.login")
_SEVERITY: Final = (
    "alert.security_vulnerability.severity",
    "alert.security_advisory.severity",
    "alert.rule.security_severity_level",
    "alert.rule.severity",
    "alert.severity",
    "security_advisory.severity",
)


def normalise(delivery: Delivery) -> list[Draft]:
    """The one event of a delivery. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    event = delivery.http_headers.get("x-github-event", "")
    if not _EVENT.fullmatch(event):
        raise RejectedMessage("no valid event name", cause="github_event", where="header x-github-event")
    body = _body(delivery)
    about = _OBJECT.get(event, event)
    return [
        Draft(
            id=delivery.fallback_id(),
            source=_source(body),
            type=_type(event, body),
            subject=_subject(event, about, body),
            time=_time(event, about, body) or delivery.received,
            partition_key=first_text(body, _KEY) or "github",
            data=body,
            actor=text(body, "sender.login"),
            url=first_text(body, (f"{about}.html_url", "compare", "repository.html_url")),
            severity=first_text(body, _SEVERITY),
        )
    ]


def _body(delivery: Delivery) -> dict[str, Any]:
    body = delivery.json()
    if not isinstance(body, dict):
        raise RejectedMessage("the body is not an object", cause="github_body", where="/")
    return body


def _type(event: str, body: dict[str, Any]) -> str:
    action = body.get("action")
    suffix = f".{action}" if isinstance(action, str) and _ACTION.fullmatch(action) else ""
    return f"com.github.{event}{suffix}"


def _source(body: dict[str, Any]) -> str:
    """Web address of the repository, else of the organisation, the installation's account or the sender."""
    for path in ("repository", "organization", "installation.account", "sender"):
        address = text(body, f"{path}.html_url")
        if address and _WEB.fullmatch(address):
            return address
    login = first_text(body, ("repository.full_name", "organization.login", "sender.login"))
    return f"https://github.com/{login}" if login else "https://github.com"


def _subject(event: str, about: str, body: dict[str, Any]) -> str | None:
    if event in _SUBJECTLESS:
        return None
    if path := _SUBJECT.get(event):
        return text(body, path)
    return _object_subject(about, body)


def _object_subject(about: str, body: dict[str, Any]) -> str | None:
    numbered = about in ("issue", "pull_request", "milestone", "discussion", "alert")
    return first_text(body, (f"{about}.number", f"{about}.id") if numbered else (f"{about}.id",))


def _time(event: str, about: str, body: dict[str, Any]) -> str | None:
    return first_time(body, _TIME.get(event) or tuple(f"{about}.{key}" for key in _OBJECT_TIMES))

"""Rules for ``release-note-drafter``: commit messages by their conventional type, releases and deployments by their fields."""

from __future__ import annotations

import re
from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, quote

_CONVENTIONAL: Final = re.compile(r"(?P<type>[a-zA-Z]{2,12})(\([^()\n]{0,60}\))?(?P<breaking>!)?:\s*(?P<text>\S.*)")
_TYPES: Final = {
    "feat": "feature",
    "feature": "feature",
    "fix": "fix",
    "perf": "fix",
    "security": "fix",
    "revert": "fix",
}
_FIX_WORDS: Final = re.compile(r"\b(fix|correct|prevent|avoid|repair|revert)", re.I)
_FEATURE_WORDS: Final = re.compile(r"\b(add|support|introduce|allow|new)\b", re.I)
_BREAKING_WORDS: Final = re.compile(r"BREAKING|\b(remove|drop)s? support\b")
_HEADINGS: Final = (("breaking", "Breaking changes"), ("feature", "New"), ("fix", "Fixed"))
_RISK: Final = {"breaking": "high", "mixed": "medium", "feature": "medium", "fix": "low", "maintenance": "low"}
_FAILED: Final = re.compile(r"fail|error|rolled.?back|abort", re.I)
_MAX_NOTES: Final = 10

Note = tuple[str, str]  # (class, one line)


def assess(facts: Facts) -> dict[str, Any]:
    if facts.get("data.release"):
        return _release(facts)
    if facts.get("data.commits"):
        return _push(facts)
    return _deployment(facts)


def _push(facts: Facts) -> dict[str, Any]:
    messages = facts.texts("data.commits[].message")
    notes = [_note(message) for message in messages]
    branch = facts.text("data.ref").rpartition("/")[2]
    repository = facts.quote("data.repository.full_name")
    lead = f"{len(messages)} commit{'s' if len(messages) != 1 else ''} on {quote(branch)} of {repository}"
    return _draft(notes, lead, facts.is_true("data.forced"))


def _release(facts: Facts) -> dict[str, Any]:
    lines = [line.strip(" -*\t") for line in facts.text("data.release.body").splitlines()]
    notes = [_note(line) for line in lines if line and not line.startswith("#")]
    tag = facts.quote("data.release.tag_name")
    return _draft(notes, f"Release {tag} of {facts.quote('data.repository.full_name')}", not notes)


def _deployment(facts: Facts) -> dict[str, Any]:
    service, version = facts.quote("data.service", "subject"), facts.quote("data.version")
    result = facts.quote("data.result", "data.status", "data.outcome", limit=40) or "unknown"
    notes = [_note(change) for change in facts.texts("data.changes")]
    where = facts.quote("data.environment", limit=40) or "an unnamed environment"
    draft = _draft(notes, f"Deployment of {service} {version} to {where} ended with {result}", False)
    if _FAILED.search(result):
        draft["risk"] = "high"
        draft["recommended_actions"] = [
            "Publish nothing before the deployment has succeeded.",
            *draft["recommended_actions"],
        ]
    return draft


def _note(message: str) -> Note:
    """Class and text of one commit message or line; the conventional type decides, else the words."""
    line = message.strip().split("\n", 1)[0]
    match = _CONVENTIONAL.match(line)
    text = quote(match["text"] if match else line, 160)
    if _BREAKING_WORDS.search(message[:5_000]) or (match and match["breaking"]):
        return "breaking", text
    if match:
        return _TYPES.get(match["type"].lower(), "maintenance"), text
    if _FIX_WORDS.search(line):
        return "fix", text
    return ("feature" if _FEATURE_WORDS.search(line) else "maintenance"), text


def _draft(notes: list[Note], lead: str, unclear: bool) -> dict[str, Any]:
    kinds = {kind for kind, _ in notes} - {"maintenance"}
    kind = (
        "breaking" if "breaking" in kinds else kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "maintenance"
    )
    actions = ["Edit the draft: rules wrote it from first lines only."]
    if kind == "breaking":
        actions.append("Write a migration guide before publishing.")
    if unclear:
        actions.append("Check what changed: the event does not say it all.")
    count = len(notes)
    return {
        "class": kind,
        "risk": _RISK[kind],
        "summary": f"{REMARK}{lead}; {count} change{'s' if count != 1 else ''} described, {kind} on the whole.",
        "recommended_actions": actions,
        "notes": _markdown(notes),
    }


def _markdown(notes: list[Note]) -> str:
    parts: list[str] = []
    for kind, heading in _HEADINGS:
        lines = list(dict.fromkeys(f"- {text}" for own, text in notes if own == kind))[:_MAX_NOTES]
        parts += [f"### {heading}", *lines, ""] if lines else []
    body = "\n".join(parts).strip() or "Nothing in this change concerns users."
    return f"{REMARK.strip()}\n\n{body}"

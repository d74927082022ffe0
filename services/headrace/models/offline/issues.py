"""Rules for ``issue-classifier``: labels that are there, else words of title and body; priority as stated."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, first_match, is_steering, shift

_LABELS: Final = (
    ("security", r"security|vulnerab"),
    ("incident", r"incident|outage|sev ?[01]\b"),
    ("bug", r"\bbug\b|defect|regression"),
    ("documentation", r"\bdoc"),
    ("feature", r"feature|enhancement|proposal"),
    ("question", r"question|help|support"),
    ("chore", r"chore|cleanup|tech.?debt|maintenance"),
)
_WORDS: Final = (
    ("spam", r"\b(casino|crypto giveaway|seo service|buy followers|cheap pills)\b"),
    ("security", r"\b(vulnerab|exploit|injection|xss|csrf|cve-|leak(ed|s)? (key|secret|token)|bypass(es)? auth)\w*"),
    ("incident", r"\b(outage|production (is )?down|everyone|all (users|customers)|can ?not (log ?in|pay)|data loss)\b"),
    ("bug", r"\b(bug|crash|error|exception|broken|fails?|regress|wrong|stack ?trace|does ?n.t work)\w*"),
    ("documentation", r"\b(docs?|documentation|readme|typo|spell\w*|tutorial)\b"),
    ("feature", r"\b(feature|would be (nice|great)|please (add|support)|support for|allow|ability to|proposal)\b"),
    ("question", r"\?|\bhow (do|can|to)\b|\bquestion\b"),
)
_RISK: Final = {"security": "high", "incident": "high", "bug": "medium", "feature": "low"}
_HARM: Final = r"\b(data loss|lost data|production|charged twice|all (users|customers)|everyone|urgent|revenue)\b"
_PRIORITY: Final = {"critical": 2, "urgent": 2, "p0": 2, "p1": 1, "high": 1, "low": -1, "p4": -1}
_ACTIONS: Final = {
    "security": ["Move the report to a private channel.", "Confirm it on a supported version."],
    "incident": [
        "Check whether it goes on now, and open an incident if so.",
        "Tell the reporter that someone looks at it.",
    ],
    "bug": ["Reproduce it on the newest version.", "Ask for steps and versions if they are missing."],
    "feature": ["Ask what problem it would solve.", "Look for an earlier request of the same."],
    "question": ["Answer or link the page that does.", "If it is asked often, improve that page."],
    "documentation": ["Fix the page, or invite the author to."],
    "chore": ["Schedule it with the owner of the area."],
    "spam": ["Check and close it."],
}
_REPLY: Final = {
    "security": "Thank you for the report. Please send further details through our private security channel only.",
    "incident": "Thank you for telling us. We are checking whether this affects others, and will answer here.",
    "bug": "Thank you for the report. Could you add the version, the exact steps and what you expected?",
    "feature": "Thank you for the idea. Could you tell us what you want to achieve with it?",
    "question": "Thank you for asking. Someone will answer here.",
    "documentation": "Thank you for noticing. A pull request with the correction is welcome.",
    "chore": "Thank you. We will look at it with the rest of the area.",
    "spam": "",
}


def assess(facts: Facts) -> dict[str, Any]:
    title = facts.text("data.issue.title", "data.title", "data.subject")
    body = facts.text("data.issue.body", "data.description", "data.body")
    words = f"{title}\n{body}"
    given = [*facts.texts("data.issue.labels[].name"), *facts.texts("data.labels")]
    kind = first_match(_LABELS, " ".join(given), "") or first_match(_WORDS, words, "chore")
    risk = _risk(facts, kind, words)
    return {
        "class": kind,
        "risk": risk,
        "summary": f"{REMARK}“{facts.quote('data.issue.title', 'data.title', 'data.subject')}” reads like: {kind}; {risk} risk"
        + (", by its labels." if given else ", by its words.")
        + (" Its text tries to instruct whoever reads it." if is_steering(words) else "")
        + ("" if body.strip() else " It has no description."),
        "recommended_actions": _ACTIONS[kind],
        "labels": [kind] if risk == "low" else [kind, f"risk-{risk}"],
        "reply": _REPLY[kind],
    }


def _risk(facts: Facts, kind: str, words: str) -> str:
    harm = 1 if first_match((("harm", _HARM),), words, "") else 0
    priority = _PRIORITY.get(facts.text("data.priority", "data.ticket.priority").lower(), 0)
    return (
        "low" if kind == "spam" else shift(_RISK.get(kind, "low"), max(harm, priority) if priority >= 0 else priority)
    )

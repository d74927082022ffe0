"""Rules for ``pr-risk-reviewer``: points for what a pull request touches, its size and how it is described."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, all_matches, is_steering

_PR: Final = "data.pull_request."
_HEAVY: Final = (
    ("authentication", r"\b(auth|authn|authz|oauth|sso|login|permission|rbac|jwt|password|session)\w*"),
    ("secrets", r"\b(secret|credential|private key|token|vault)s?\b"),
    ("payments", r"\b(payment|billing|invoice|checkout|refund|ledger)s?\b"),
    ("data migration", r"\bmigrat\w+|\bdrop (table|column)|\bbackfill|\btruncate\b"),
)
_LIGHT: Final = (
    ("concurrency", r"\b(lock|race|deadlock|concurren|thread|async)\w*"),
    ("deployment", r"\b(deploy|terraform|helm|kubernetes|docker|rollout|pipeline|ci)\w*"),
    ("dependencies", r"\b(bump|upgrade|dependenc)\w*"),
    ("public interface", r"\b(api|breaking|endpoint|schema)\b"),
)
_TRIVIAL: Final = (("docs", r"\b(docs?|readme|typo|spelling|comment|changelog|wording)\b"),)
_SIZES: Final = ((1000, 50, 3), (300, 20, 2), (100, 10, 1))  # lines, files -> points
_OUTSIDERS: Final = frozenset({"FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "NONE"})
_RISK_BY_POINTS: Final = ((6, "critical"), (4, "high"), (2, "medium"), (0, "low"))
_FOCUS_ACTION: Final = {
    "authentication": "Have someone who owns authentication review the change, and test the refusal paths.",
    "secrets": "Check that no credential is in the diff and that rotation is possible.",
    "payments": "Reconcile amounts and idempotency on a test account before merging.",
    "data migration": "Rehearse the migration on a copy, and write down how to go back.",
    "concurrency": "Look for shared state and run the tests repeatedly.",
    "deployment": "Apply it to staging first, and keep the way back ready.",
    "dependencies": "Read the changelogs of what is upgraded.",
    "public interface": "Check callers for compatibility, and note the change for users.",
}


def assess(facts: Facts) -> dict[str, Any]:
    """Class, risk and what they rest on. Only the webhook's own numbers and words are read: there is no diff in it."""
    words = " ".join(
        (
            facts.text(f"{_PR}title"),
            facts.text(f"{_PR}body"),
            facts.text(f"{_PR}head.ref"),
            *facts.texts(f"{_PR}labels[].name"),
        )
    )
    lines = int(facts.number(f"{_PR}additions") + facts.number(f"{_PR}deletions"))
    files = int(facts.number(f"{_PR}changed_files"))
    heavy, light = all_matches(_HEAVY, words), all_matches(_LIGHT, words)
    points, reasons = _points(facts, words, lines, files, heavy, light)
    trivial = bool(all_matches(_TRIVIAL, facts.text(f"{_PR}title"))) and lines <= 100 and not heavy
    risk = "low" if trivial else next(risk for least, risk in _RISK_BY_POINTS if points >= least)
    title = facts.quote(f"{_PR}title")
    return {
        "class": _class(trivial, bool(heavy), lines, files),
        "risk": risk,
        "summary": f"{REMARK}“{title}” changes {lines} lines in {files} files; {risk} risk: {'; '.join(reasons)}.",
        "recommended_actions": _actions(heavy + light, lines, risk),
        "reasons": reasons,
        "review_focus": heavy + light,
    }


def _points(
    facts: Facts, words: str, lines: int, files: int, heavy: list[str], light: list[str]
) -> tuple[int, list[str]]:
    size = next((points for most, many, points in _SIZES if lines >= most or files >= many), 0)
    found = [(size, f"{lines} changed lines in {files} files")]
    found += [(2, f"mentions {area}") for area in heavy]
    found += [(1, f"mentions {area}") for area in light]
    if not facts.text(f"{_PR}body") and lines > 50:
        found.append((1, "no description"))
    if facts.text(f"{_PR}author_association") in _OUTSIDERS:
        found.append((1, "the author is new to the repository"))
    if is_steering(words):
        found.append((2, "its text tries to instruct the reviewer"))
    return sum(points for points, _ in found), [reason for _, reason in found]


def _class(trivial: bool, sensitive: bool, lines: int, files: int) -> str:
    if trivial:
        return "trivial"
    if sensitive:
        return "sensitive"
    return "substantial" if lines >= 300 or files >= 20 else "routine"


def _actions(areas: list[str], lines: int, risk: str) -> list[str]:
    actions = [_FOCUS_ACTION[area] for area in areas][:4]
    if lines >= 300:
        actions.insert(0, "Ask for it to be split into parts that can be reviewed.")
    if risk in ("high", "critical"):
        actions.append("Have two people review it.")
    return actions or ["Review as usual."]

"""Rules for ``ci-failure-triager``: the kind of check by its name and output, and whom its failure holds up."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, first_match, quote

_KINDS: Final = (
    ("deployment", r"\b(deploy|release|publish|rollout|terraform apply)\w*"),
    ("security", r"\b(codeql|security|trivy|snyk|sast|audit|secret.?scan|vulnerab)\w*"),
    ("dependency", r"\b(could not resolve|no matching distribution|npm err|dependency review|lockfile)\b"),
    ("infrastructure", r"\b(timed? ?out|connection (reset|refused)|no space left|runner|rate limit|503|dns)\b"),
    ("lint", r"\b(lint|format|style|ruff|eslint|flake8|prettier|mypy|typecheck)\w*"),
    ("test", r"\b(test|spec|pytest|jest|assert|e2e|coverage)\w*"),
    ("build", r"\b(build|compile|bundle|package|image|docker)\w*"),
)
_RISK: Final = {  # (kind, blocks) -> risk; anything else: _RISK_BY_BLOCKS
    ("deployment", "team"): "critical",
    ("deployment", "release"): "critical",
    ("security", "team"): "critical",
    ("security", "release"): "critical",
    ("security", "author"): "high",
    ("lint", "author"): "low",
    ("infrastructure", "author"): "low",
}
_RISK_BY_BLOCKS: Final = {"author": "medium", "team": "high", "release": "critical"}
_ACTIONS: Final = {
    "deployment": ["Check what is running now, and whether a rollback is due.", "Hold further deployments of it."],
    "security": ["Read the finding before anything is merged.", "Tell whoever owns security for this repository."],
    "dependency": ["Check whether the dependency or its registry changed.", "Restore the last lock file that worked."],
    "infrastructure": ["Re-run once.", "If it fails the same way, look at the runner and the network."],
    "lint": ["Run the linter locally and commit what it fixes."],
    "test": ["Run the named test locally on the same commit.", "Compare with the last run that passed."],
    "build": ["Build locally on the same commit.", "Look at changes of the toolchain and of build files."],
    "unknown": ["Open the run's log: the event does not say what failed."],
}


def assess(facts: Facts) -> dict[str, Any]:
    run = "data.check_run" if facts.get("data.check_run") else "data.workflow_run"
    conclusion = facts.quote(f"{run}.conclusion", limit=40) or "failure"
    kind = _kind(facts, run, conclusion)
    branch = facts.text(f"{run}.check_suite.head_branch", f"{run}.head_branch")
    blocks = _blocks(facts, branch)
    risk = _RISK.get((kind, blocks), _RISK_BY_BLOCKS[blocks])
    title = facts.quote(f"{run}.output.title")
    ended = f"Check “{facts.quote(f'{run}.name')}” ended with {conclusion} on {quote(branch) or 'an unnamed branch'}"
    return {
        "class": kind,
        "risk": risk,
        "summary": f"{REMARK}{ended}; by its name and output: {kind}. It holds up the {blocks}."
        + (f" It says: {title}." if title else ""),
        "recommended_actions": _ACTIONS[kind],
        "rerun": kind == "infrastructure" or conclusion in ("timed_out", "startup_failure"),
        "blocks": blocks,
    }


def _kind(facts: Facts, run: str, conclusion: str) -> str:
    if conclusion in ("timed_out", "startup_failure"):
        return "infrastructure"
    words = (facts.text(f"{run}.{part}") for part in ("output.title", "output.summary", "name"))
    return first_match(_KINDS, " ".join(words), "unknown")


def _blocks(facts: Facts, branch: str) -> str:
    if branch.startswith(("release", "hotfix")):
        return "release"
    return "team" if branch and branch == facts.text("data.repository.default_branch") else "author"

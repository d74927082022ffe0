"""Rules for ``security-alert-assessor``: CVSS and severities, lowered for what is less exposed."""

from __future__ import annotations

from typing import Any, Final

from headrace.models.offline.facts import REMARK, Facts, quote, shift

_SEVERITY: Final = {
    "critical": "critical",
    "high": "high",
    "error": "high",
    "moderate": "medium",
    "medium": "medium",
    "warning": "medium",
    "low": "low",
    "note": "low",
}
_CVSS: Final = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
_IDENTIFIERS: Final = (
    "data.alert.security_advisory.ghsa_id",
    "data.alert.security_advisory.cve_id",
    "data.alert.ghsa_id",
    "data.alert.external_identifier",
    "data.alert.rule.id",
)


def assess(facts: Facts) -> dict[str, Any]:
    if facts.get("data.alert.secret_type"):
        return _secret(facts)
    if facts.get("data.alert.rule"):
        return _code(facts)
    return _dependency(facts)


def _dependency(facts: Facts) -> dict[str, Any]:
    package = facts.quote(
        "data.alert.security_vulnerability.package.name",
        "data.alert.dependency.package.name",
        "data.alert.affected_package_name",
    )
    patched = facts.quote("data.alert.security_vulnerability.first_patched_version.identifier", "data.alert.fixed_in")
    development = facts.text("data.alert.dependency.scope") == "development"
    score = facts.number("data.alert.security_advisory.cvss.score")
    risk = shift(_base(facts, score), -1 if development else 0)
    what = facts.quote("data.alert.security_advisory.summary") or "a known vulnerability"
    named = package or "a package"
    actions = [
        f"Upgrade {named} to {patched} or later."
        if patched
        else f"No patched version is named: see whether {named} can go."
    ]
    if risk in ("high", "critical"):
        actions.append("Check whether the vulnerable function is reached from outside.")
    return _verdict(
        facts,
        "vulnerable_dependency",
        risk,
        f"{named}: {what}"
        + (f" (CVSS {score:g})" if score else "")
        + ("; a development dependency" if development else ""),
        actions,
        fix=bool(patched),
    )


def _code(facts: Facts) -> dict[str, Any]:
    ref = facts.text("data.ref", "data.alert.most_recent_instance.ref")
    default = facts.text("data.repository.default_branch")
    elsewhere = bool(ref and default) and ref.rpartition("/")[2] != default
    risk = shift(_base(facts, 0.0), -1 if elsewhere else 0)
    rule = facts.quote("data.alert.rule.description", "data.alert.rule.name", "data.alert.rule.id")
    tool = facts.quote("data.alert.tool.name") or "The scanner"
    place = facts.quote("data.alert.most_recent_instance.location.path", "data.alert.instances[0].location.path")
    return _verdict(
        facts,
        "code_weakness",
        risk,
        f"{tool} reports: {rule}"
        + (f" in {place}" if place else "")
        + ("; not on the default branch" if elsewhere else ""),
        [
            "Confirm that the flagged input comes from outside.",
            "Fix it where the data enters, and add a test that fails without it.",
        ],
        fix=False,
    )


def _secret(facts: Facts) -> dict[str, Any]:
    kind = facts.quote("data.alert.secret_type_display_name", "data.alert.secret_type")
    exposed = facts.is_true("data.alert.publicly_leaked") or facts.get("data.repository.private") is False
    return _verdict(
        facts,
        "leaked_secret",
        "critical" if exposed else "high",
        f"A secret of the kind “{kind}” is in the repository" + (", which is public" if exposed else ""),
        [
            "Revoke the secret now, then replace it.",
            "Look for use of it since the commit.",
            "Remove it from history last.",
        ],
        fix=False,
    )


def _base(facts: Facts, score: float) -> str:
    if score:
        return next((risk for least, risk in _CVSS if score >= least), "low")
    said = facts.text(
        "data.alert.security_vulnerability.severity",
        "data.alert.security_advisory.severity",
        "data.alert.rule.security_severity_level",
        "data.alert.rule.severity",
        "data.alert.severity",
    )
    return _SEVERITY.get(said.lower(), "medium")


def _verdict(facts: Facts, kind: str, risk: str, what: str, actions: list[str], *, fix: bool) -> dict[str, Any]:
    identifiers = [facts.quote(path, limit=100) for path in _IDENTIFIERS]
    identifiers += [quote(cwe, 100) for cwe in facts.texts("data.alert.security_advisory.cwes[].cwe_id")]
    return {
        "class": kind,
        "risk": risk,
        "summary": f"{REMARK}{what}. Rated {risk} by its stated severity and exposure.",
        "recommended_actions": actions,
        "identifiers": list(dict.fromkeys(identifier for identifier in identifiers if identifier))[:10],
        "fix_available": fix,
    }

"""The samples that the demo sends: enough, of every kind, deterministic by seed."""

from __future__ import annotations

from collections import Counter

from headrace.messages.strict_json import loads
from headrace.samples import samples


def test_enough_of_every_kind() -> None:
    kinds = Counter(sample.kind for sample in samples())
    assert sum(kinds.values()) >= 24
    github = {"push", "pull_request", "issues", "check_run", "dependabot_alert", "code_scanning_alert"}
    assert {f"github {event}" for event in github} | {"alertmanager", "envelope", "cloudevent"} <= set(kinds)
    assert all(loads(sample.body) for sample in samples())


def test_names_are_unique() -> None:
    names = [sample.name for sample in samples()]
    assert len(set(names)) == len(names)


def test_the_same_seed_gives_the_same_deliveries() -> None:
    assert samples("a") == samples("a")


def test_another_seed_shares_no_delivery() -> None:
    """Neither a sender's id nor, where the sender gives none, the body."""
    first, second = samples("a"), samples("b")
    assert [sample.name for sample in first] == [sample.name for sample in second]
    for one, other in zip(first, second, strict=True):
        assert (one.headers, one.body) != (other.headers, other.body), one.name
        if one.sign == "github":
            assert one.headers["x-github-delivery"] != other.headers["x-github-delivery"]


def test_only_github_signs() -> None:
    assert {sample.sign for sample in samples() if sample.path == "/webhooks/github"} == {"github"}
    assert {sample.sign for sample in samples() if sample.path != "/webhooks/github"} == {None}
    assert not any("signature" in header for sample in samples() for header in sample.headers)

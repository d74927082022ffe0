"""``HEADRACE_EGRESS_*``."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.egress import EgressSettings
from headrace.egress.policy import PrivateTargets


def test_nothing_private_is_allowed_by_default() -> None:
    policy = EgressSettings(_env_file=None).policy()
    assert policy.private == PrivateTargets()
    assert policy.ports == {80, 443}


@pytest.mark.parametrize(
    "text",
    ["svc.internal:8080, [::1]:81,10.0.0.0/8", '["svc.internal:8080", "[::1]:81", "10.0.0.0/8"]'],
)
def test_private_targets_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HEADRACE_EGRESS_ALLOW_PRIVATE", text)
    monkeypatch.setenv("HEADRACE_EGRESS_PORTS", "443,8443")
    policy = EgressSettings(_env_file=None).policy()
    assert policy.private.hosts == {("svc.internal", 8080), ("::1", 81)}
    assert [str(network) for network in policy.private.networks] == ["10.0.0.0/8"]
    assert policy.ports == {443, 8443}


@pytest.mark.parametrize(
    "entry", ["localhost", "host:", ":80", "host:x", "10.0.0.1/8", "*:80", "http://x:80", "::1:80", "0x7f.1:80"]
)
def test_a_bad_target_stops_the_start(entry: str) -> None:
    with pytest.raises(ValidationError):
        EgressSettings(_env_file=None, allow_private=[entry])

"""Auth profiles: each kind is read, what is none is refused by its place, and no secret shows."""

import json

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from headrace.auth_profiles import ApiKey, AuthProfiles, Basic, Bearer, OAuth2ClientCredentials
from headrace.settings import problems

SECRET = "canary-5d7a"
GOOD = {
    "weatherapi": {"type": "api_key", "header": "X-API-Key", "value": SECRET},
    "internal": {"type": "bearer", "token": SECRET, "hosts": ["*.internal.example.org"]},
    "legacy": {"type": "basic", "username": "mesh", "password": SECRET},
    "crm": {
        "type": "oauth2",
        "token_url": "https://id.example.org/token",
        "client_id": "mesh",
        "client_secret": SECRET,
        "scopes": ["read"],
    },
}


def read(monkeypatch: pytest.MonkeyPatch, value: object) -> AuthProfiles:
    text = value if isinstance(value, str) else json.dumps(value)
    monkeypatch.setenv("HEADRACE_AUTH_PROFILES", text)
    return AuthProfiles(_env_file=None)  # type: ignore[call-arg]


def test_each_kind_is_read_and_prints_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = read(monkeypatch, GOOD).auth_profiles
    kinds = {name: type(profile) for name, profile in profiles.items()}
    assert kinds == {"weatherapi": ApiKey, "internal": Bearer, "legacy": Basic, "crm": OAuth2ClientCredentials}
    crm = profiles["crm"]
    assert isinstance(crm, OAuth2ClientCredentials)
    assert crm.client_secret.get_secret_value() == SECRET
    assert SECRET not in repr(profiles)
    assert SECRET not in str(AuthProfiles(_env_file=None))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"a": {"type": "digest", "token": SECRET}}, "auth_profiles.a"),
        ({"a": {"type": "api_key", "header": "X: y", "value": SECRET}}, "auth_profiles.a.api_key.header"),
        ({"a": {"type": "bearer"}}, "auth_profiles.a.bearer.token"),
        ({"a": {"type": "bearer", "token": SECRET, "tokens": SECRET}}, "auth_profiles.a.bearer.tokens"),
        ({"a b": {"type": "bearer", "token": SECRET}}, "auth_profiles.a b"),
        ('{"a": ' + SECRET, "auth_profiles"),
    ],
)
def test_what_is_no_profile_is_refused_by_its_place(monkeypatch: pytest.MonkeyPatch, bad: object, where: str) -> None:
    with pytest.raises((ValidationError, SettingsError)) as caught:
        read(monkeypatch, bad)
    told = problems(caught.value)
    assert where in told
    assert SECRET not in told

"""What proves the caller to another's server: from an auth profile to headers and query, and out of whatever comes back.

A secret goes to the hosts that its profile names and nowhere else; a redirect to another origin does not get it, and an answer
that repeats it has it struck out, since models read answers and records keep them.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, quote_plus, urlencode

import orjson
from pydantic import SecretStr

from headrace.auth_profiles import ApiKey, AuthProfile, Basic, Bearer, OAuth2ClientCredentials
from headrace.egress import EgressError, GuardedClient
from headrace.egress.domains import matches
from headrace.egress.urls import parse_url
from headrace.messages import strict_json
from headrace.messages.errors import BadMessage
from headrace.tools.api import ToolFailure

STRUCK_OUT: Final = b"[secret]"
_SHORTEST: Final = 4  # characters of a secret that is looked for: a shorter one is found in everything
_EARLY_S: Final = 30.0  # a token is renewed this long before it ends
_DEFAULT_LIFE_S: Final = 300.0  # of a token whose answer doesn't say
_MAX_LIFE_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What to add to a request. ``secrets`` is what must not come back."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def struck_out(self, data: bytes) -> bytes:
        """``data`` without the secrets, in whichever usual spelling."""
        for secret in self.secrets:
            if len(secret) < _SHORTEST:
                continue
            for spelling in _spellings(secret):
                data = data.replace(spelling, STRUCK_OUT)
        return data


class Credentials:
    """Proofs by profile. ``timer`` is the clock (seconds) that tokens age by. Tokens are kept in memory only."""

    def __init__(self, profiles: Mapping[str, AuthProfile], client: GuardedClient, timer: Callable[[], float]) -> None:
        self._profiles = profiles
        self._client = client
        self._timer = timer
        self._tokens: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def proof(self, name: str, agent: str, url: str) -> Proof:
        """For a request of ``agent`` to ``url``. Raises ``ToolFailure``, ``EgressDenied`` for a malformed URL."""
        profile = self._granted(name, agent)
        target = parse_url(url)
        if profile.hosts and not any(matches(target.host, host) for host in profile.hosts):
            raise ToolFailure("auth_profile", f"the auth profile {name} is not for this host")
        if target.scheme != "https" and not profile.plain_http:
            raise ToolFailure("auth_profile", f"the auth profile {name} is for https only")
        if isinstance(profile, OAuth2ClientCredentials):
            return _bearer(await self._token(name, profile), _plain(profile.client_secret))
        return standing_proof(profile)

    def renewable(self, name: str) -> bool:
        """Whether a refused credential may be an old token. If so it is forgotten, and the next proof has a new one."""
        return self._tokens.pop(name, None) is not None

    def _granted(self, name: str, agent: str) -> AuthProfile:
        profile = self._profiles.get(name)
        if profile is None or not profile.grants(agent):
            granted = sorted(known for known, one in self._profiles.items() if one.grants(agent))
            has = f"there are: {', '.join(granted)}" if granted else "there is none for this agent"
            raise ToolFailure("auth_profile", f"no auth profile {name[:64]!r}; {has}")
        return profile

    async def _token(self, name: str, profile: OAuth2ClientCredentials) -> str:
        async with self._locks.setdefault(name, asyncio.Lock()):
            token, until = self._tokens.get(name, ("", 0.0))
            if until <= self._timer():
                token, life = await self._new_token(name, profile)
                self._tokens[name] = token, self._timer() + life - _EARLY_S
            return token

    async def _new_token(self, name: str, profile: OAuth2ClientCredentials) -> tuple[str, float]:
        secret = _plain(profile.client_secret)
        fields = {"grant_type": "client_credentials"} | ({"scope": " ".join(profile.scopes)} if profile.scopes else {})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if profile.send == "header":
            headers |= _basic(quote_plus(profile.client_id), quote_plus(secret)).headers  # RFC 6749, 2.3.1
        else:
            fields |= {"client_id": profile.client_id, "client_secret": secret}
        try:
            host = parse_url(profile.token_url).host
            answer = await self._client.request(
                "POST", profile.token_url, domains=[host], content=urlencode(fields).encode(), headers=headers
            )
            found = strict_json.loads(answer.body) if answer.status == 200 else None
        except (EgressError, BadMessage):
            found = None
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or len(token) < 8:
            raise ToolFailure("auth_profile", f"no token for the auth profile {name} now", retryable=True)
        life = found.get("expires_in") if isinstance(found, dict) else None
        return token, min(float(life), _MAX_LIFE_S) if isinstance(life, int | float) else _DEFAULT_LIFE_S


def standing_proof(profile: ApiKey | Bearer | Basic) -> Proof:
    """The proof of a profile that is the same for every request."""
    match profile:
        case ApiKey(query=None):
            return Proof({profile.header: _plain(profile.value)}, "", (_plain(profile.value),))
        case ApiKey():
            value = _plain(profile.value)
            return Proof({}, f"{quote(profile.query or '', safe='')}={quote(value, safe='')}", (value,))
        case Bearer():
            return _bearer(_plain(profile.token))
        case Basic():
            return _basic(profile.username, _plain(profile.password))


def _bearer(token: str, *more: str) -> Proof:
    return Proof({"authorization": f"Bearer {token}"}, "", (token, *more))


def _basic(username: str, password: str) -> Proof:
    coded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Proof({"authorization": f"Basic {coded}"}, "", (coded, password))


def _plain(secret: SecretStr) -> str:
    return secret.get_secret_value()


def _spellings(secret: str) -> set[bytes]:
    """As it is, as JSON and URLs write it, and in Base64."""
    plain = secret.encode()
    json = orjson.dumps(secret)[1:-1]
    urls = {quote(secret, safe="").encode(), quote_plus(secret).encode()}
    return {plain, json, json.replace(b"/", b"\\/"), *urls, base64.b64encode(plain), base64.urlsafe_b64encode(plain)}

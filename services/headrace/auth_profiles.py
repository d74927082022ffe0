"""Auth profiles: named credentials with which tools call APIs of others. A model names a profile, and never sees what is in it.

They are read from ``HEADRACE_AUTH_PROFILES`` (JSON) or the section ``auth_profiles`` of the configuration file. Every secret is a
``SecretStr``, so that a profile that is printed or logged shows asterisks; what uses one opens it when it writes the request.

    {"weatherapi": {"type": "api_key", "header": "X-API-Key", "value": "..."},
     "internal":   {"type": "bearer", "token": "...", "hosts": ["*.internal.example.org"]},
     "legacy":     {"type": "basic", "username": "mesh", "password": "..."},
     "crm":        {"type": "oauth2", "token_url": "https://id.example.org/token", "client_id": "mesh", "client_secret": "..."}}
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings

_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"  # a token of RFC 9110, 5.6.2
_PROFILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class _Profile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts that may be sent it, such as api.example.org or *.example.org; empty: any that the agent may call",
    )
    agents: tuple[str, ...] = Field(default=("*",), description="Agents that may use it, as shell-style patterns")
    plain_http: bool = Field(default=False, description="Send it over http too, where everyone on the way can read it")

    def grants(self, agent: str) -> bool:
        return any(fnmatchcase(agent, pattern) for pattern in self.agents)


class ApiKey(_Profile):
    """A key in a header of the API's own, or in the query where ``query`` names its parameter."""

    type: Literal["api_key"]
    header: str = Field(default="X-API-Key", pattern=_HEADER_NAME)
    query: str | None = Field(default=None, min_length=1, max_length=128)
    value: SecretStr = Field(min_length=1)


class Bearer(_Profile):
    """``Authorization: Bearer``."""

    type: Literal["bearer"]
    token: SecretStr = Field(min_length=1)


class Basic(_Profile):
    """``Authorization: Basic``."""

    type: Literal["basic"]
    username: str = Field(pattern=r"^[^:]*$")
    password: SecretStr


class OAuth2ClientCredentials(_Profile):
    """A token of the client-credentials grant (RFC 6749, 4.4), fetched from ``token_url`` and sent as a bearer token.

    ``send`` is how the token endpoint wants the client's own secret.
    """

    type: Literal["oauth2"]
    token_url: str = Field(pattern=r"^https?://")
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    scopes: tuple[str, ...] = ()
    send: Literal["header", "body"] = "header"


AuthProfile = Annotated[ApiKey | Bearer | Basic | OAuth2ClientCredentials, Field(discriminator="type")]
ProfileName = Annotated[str, Field(pattern=_PROFILE_NAME)]


class AuthProfiles(Settings):
    """The profiles of this process, by name."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", env_file=".env", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    auth_profiles: dict[ProfileName, AuthProfile] = Field(
        default_factory=dict, description="Credentials for tools by name, as JSON; see auth_profiles.py"
    )

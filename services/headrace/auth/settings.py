"""Settings of authentication, and whether it may be off."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from headrace.config_file import Settings
from headrace.messages.errors import FatalError

MIN_SECRET: Final = 32  # characters: as many bytes as HS256 has, RFC 7518 3.2
MAX_TOKEN_MINUTES: Final = 24 * 60


class AuthSettings(Settings):
    """Who may use the gateway's API. Read from ``HEADRACE_*`` and ``.env``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", env_file=".env", extra="ignore", populate_by_name=True)

    auth: Literal["on", "off"] = Field(
        default="on", description="Credentials for the API. off is taken on loopback only; `headrace up` sets it"
    )
    auth_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description=f"What keys and tokens are made and checked with, {MIN_SECRET} characters or more; several,"
        " comma-separated or a JSON list, during a rotation: the first makes, all check",
    )
    callback_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="What the tokens of callbacks are made and checked with, likewise; HEADRACE_AUTH_SECRET's unless set. "
        "The tools service needs it for callback tools, and opens nothing else by it",
    )
    auth_cache_s: float = Field(
        default=2.0,
        ge=0,
        le=60,
        description="How long a checked credential counts without a look: a revocation's delay",
    )

    @field_validator("auth_secret", "callback_secret", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        items = orjson.loads(value) if value.lstrip().startswith("[") else value.split(",")
        return tuple(item.strip() for item in items if item.strip())

    @field_validator("auth_secret", "callback_secret")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < MIN_SECRET for secret in value):
            raise ValueError(f"a secret is shorter than {MIN_SECRET} characters: openssl rand -hex 32")
        return value

    def secrets(self) -> tuple[bytes, ...]:
        """Newest first. Raises ``FatalError`` where there is none."""
        if not self.auth_secret:
            raise FatalError(
                "HEADRACE_AUTH_SECRET is not set: without it nobody can use the API. Make one (openssl rand -hex 32), "
                "or, on loopback only, set HEADRACE_AUTH=off"
            )
        return _plain(self.auth_secret)

    def callback_secrets(self) -> tuple[bytes, ...]:
        """Newest first; none where callbacks have no secret of their own."""
        return _plain(self.callback_secret)

    def required_on(self, host: str) -> bool:
        """Whether a gateway that listens on ``host`` asks for credentials. Raises ``FatalError`` where off is not allowed."""
        if self.auth == "on":
            return True
        if not is_loopback(host):
            raise FatalError(
                f"HEADRACE_AUTH=off is for loopback, and the gateway is to listen on {host}: set HEADRACE_AUTH=on and "
                "HEADRACE_AUTH_SECRET, or HEADRACE_GATEWAY_HOST=127.0.0.1"
            )
        return False


def _plain(secrets: tuple[SecretStr, ...]) -> tuple[bytes, ...]:
    return tuple(secret.get_secret_value().encode() for secret in secrets)


def is_loopback(host: str) -> bool:
    """Names are not looked up: what they mean may change."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

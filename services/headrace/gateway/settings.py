"""Settings of the gateway. Secrets of webhook sources are looked up by name: ``webhook_secrets``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from headrace.config_file import Settings
from headrace.gateway.secrets import secret_variable
from headrace.messages.errors import FatalError

MIB: Final = 1024 * 1024
Items = Annotated[tuple[str, ...], NoDecode]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode]


class GatewaySettings(Settings):
    """How the gateway listens, what it bounds, and who may write to it. Read from ``HEADRACE_*`` and ``.env``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", env_file=".env", extra="ignore", populate_by_name=True)

    gateway_host: str = Field(default="127.0.0.1", description="Address to listen on")
    gateway_port: int = Field(default=8080, ge=0, le=65_535, description="Port to listen on; 0: any free port")
    gateway_public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#]+",
        description="What others reach the gateway by, for A2A's agent cards; unset: what the request asked for",
    )
    gateway_max_body_bytes: int = Field(
        default=25 * MIB, ge=1, description="A larger request body is refused (413), whatever its transfer encoding"
    )
    gateway_max_batch: int = Field(default=1000, ge=1, description="Events in one CloudEvents batch")
    gateway_publish_timeout_s: float = Field(
        default=4.0, gt=0, description="Wait for the broker's acknowledgement; then 503. Senders give up after 5-10 s"
    )
    gateway_backlog: int = Field(default=2048, ge=1, description="Connections waiting to be accepted")
    gateway_keepalive_s: float = Field(default=15, gt=0, description="Seconds between comments on an idle event stream")
    gateway_max_streams: int = Field(
        default=500, ge=1, description="Live event streams at once, more get 503; and as many requests that wait"
    )
    gateway_max_wait_s: float = Field(
        default=60.0, gt=0, description="Longest wait for a run's result within a request; a longer one is cut to it"
    )
    gateway_unknown_wait_s: float = Field(
        default=3.0,
        ge=0,
        le=30,
        description="How long cancelling waits for a run to be in the index, where another gateway may have taken it a moment ago",
    )
    gateway_agent_runs: int = Field(
        default=1, ge=1, description="Runs of one agent that POST /agents/run allows at once; more get 409"
    )
    gateway_agent_runs_of: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description='The same for some agents, as JSON: {"policy-checker": 4}'
    )
    gateway_rate: float = Field(
        default=0.0,
        ge=0,
        description="Records a second that this process takes in at its doors, all together; past it senders and callers are told"
        " to come again. 0: no limit",
    )
    gateway_source_rate: float = Field(
        default=0.0, ge=0, description="Deliveries a second of one webhook source, likewise; 0: no limit"
    )
    gateway_source_rate_of: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description='The same for some sources, as JSON: {"alertmanager": 20}'
    )
    gateway_burst_s: float = Field(
        default=10.0, gt=0, description="Seconds' worth of a rate that may come at once after a quiet time"
    )
    sources_dir: Path | None = Field(
        default=None, description="Directory of further webhook sources, one YAML file each; they may not redefine one"
    )
    webhook_open: Items = Field(
        default=(),
        description="Sources without a signature scheme (such as alertmanager) that may deliver without credentials,"
        " comma-separated",
    )
    events_token: Secrets = Field(
        default=(),
        description="Bearer token(s) that POST /events takes beside the API's credentials, comma-separated or a JSON list; where"
        " HEADRACE_AUTH is off it asks for one of them",
    )

    events_origins: Items = Field(
        default=(),
        description="Origins of CloudEvents that OPTIONS /events admits (WebHook-Request-Origin), comma-separated",
    )

    @field_validator("webhook_open", "events_token", "events_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split(value) if isinstance(value, str) else value


def split(text: str) -> tuple[str, ...]:
    """A JSON list of strings, or a comma-separated list; blank items are dropped."""
    if text.lstrip().startswith("["):
        try:
            items = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise ValueError("starts with [ but is not a JSON list") from None
        if not all(isinstance(item, str) for item in items):
            raise ValueError("not a list of strings")
    else:
        items = [item.strip() for item in text.split(",")]
    return tuple(item for item in items if item)


def environment() -> dict[str, str]:
    """What the settings are read from: the environment over ``.env``."""
    return {name: value for name, value in dotenv_values(".env").items() if value is not None} | dict(os.environ)


def webhook_secrets(source: str, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """All secrets that are valid now for ``source``: several during a rotation. Empty if none is configured."""
    variable = secret_variable(source)
    try:
        return tuple(secret.encode() for secret in split(environ.get(variable, "")))
    except ValueError as error:
        raise FatalError(f"{variable}: {error}") from None

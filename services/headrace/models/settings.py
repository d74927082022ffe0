"""Which models there are and how they are reached, read from the environment.

Keys and base URLs have the names that the providers' own tools use. An empty variable counts as unset.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings

ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com/v1"


def _key(value: object) -> object:
    text = value.strip() if isinstance(value, str) else value
    return text or None


def _url_or(default: str) -> BeforeValidator:
    return BeforeValidator(lambda value: value or default)


_Key = Annotated[SecretStr | None, BeforeValidator(_key)]


class ModelSettings(Settings):
    """Settings of the model port; every one can be given as ``HEADRACE_<NAME>``, keys and base URLs by their usual names."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", env_file=".env", extra="ignore", populate_by_name=True, protected_namespaces=()
    )

    model: Annotated[str | None, BeforeValidator(_key)] = Field(
        default=None, description="What `default` means: anthropic:NAME, openai:NAME or offline"
    )
    anthropic_model: str = Field(default="claude-haiku-5-5", description="Used when `default` resolves to Anthropic")
    openai_model: str = Field(default="gpt-6-luna", description="Used when `default` resolves to OpenAI")
    anthropic_api_key: _Key = Field(
        default=None, validation_alias=AliasChoices("ANTHROPIC_API_KEY", "anthropic_api_key")
    )
    openai_api_key: _Key = Field(default=None, validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key"))
    anthropic_base_url: Annotated[str, _url_or(ANTHROPIC_URL)] = Field(
        default=ANTHROPIC_URL, validation_alias=AliasChoices("ANTHROPIC_BASE_URL", "anthropic_base_url")
    )
    openai_base_url: Annotated[str, _url_or(OPENAI_URL)] = Field(
        default=OPENAI_URL,
        validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url"),
        description="Any server that speaks chat completions",
    )
    model_attempts: int = Field(default=4, ge=1, le=20, description="Tries of one model call, the first included")
    model_temperature: float | None = Field(
        default=None, ge=0, le=2, description="Sent with every call if set; some models refuse any"
    )
    model_max_output_tokens: int | None = Field(
        default=None, ge=1, description="Bound of one answer, where an agent's own limit is not lower"
    )
    model_max_connections: int = Field(default=4_000, ge=1, description="Open connections to one provider")
    anthropic_thinking: Literal["auto", "omit", "disabled", "between_tools", "adaptive"] = Field(
        default="auto", description="auto: off where the model thinks by default and can be told not to"
    )
    openai_reasoning_effort: str = Field(
        default="auto", description="auto: `none` where chat completions refuses tools otherwise; omit: not sent"
    )
    openai_max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="max_tokens for older compatible servers"
    )
    openai_json_mode: bool = Field(
        default=False, description="Ask for JSON mode when a structured answer is wanted and no tools are offered"
    )

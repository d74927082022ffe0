"""The orchestrator's API as the tools service sees it: where it is, and the credential that no agent ever sees."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class OrchestratorSettings(Settings):
    """``HEADRACE_ORCHESTRATOR_*``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_ORCHESTRATOR_", env_file=".env", extra="ignore")

    api_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^\s?#]+$",
        description="Address of the API that workflows are changed through: the gateway's",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="API key of the tools service there (role developer, `--any-owner`); no agent ever sees it",
    )

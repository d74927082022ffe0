"""Where the orchestrator's API is, and this service's credential for it (``HEADRACE_ORCHESTRATOR_*``)."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class OrchestratorSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_ORCHESTRATOR_", env_file=".env", extra="ignore")

    api_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^\s?#]+$",
        description="Address of the API that workflows are changed through: the gateway's",
    )
    api_key: SecretStr | None = Field(
        default=None, description="API key of the tools service there (role developer); no agent ever sees it"
    )

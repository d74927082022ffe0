"""The tools service's credential at the orchestrator's API; where that is, ``MeshSettings.orchestrator_api_url`` says."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class OrchestratorSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_ORCHESTRATOR_", env_file=".env", extra="ignore")

    api_key: SecretStr | None = Field(
        default=None, description="API key of the tools service there (role developer); no agent ever sees it"
    )

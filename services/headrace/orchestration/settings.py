"""Settings of the orchestration service (``HEADRACE_ORCHESTRATION_*``)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class OrchestrationSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_ORCHESTRATION_", env_file=".env", extra="ignore")

    sweep_seconds: float = Field(
        default=1.0, gt=0, le=60, description="How often it looks for calls whose time is up, and for cancelled runs"
    )
    inline_bytes: int = Field(
        default=1_024,
        ge=256,
        le=65_536,
        description="An answer of a sub-agent or a Job past this goes to the blob store",
    )
    keep_hours: int = Field(default=168, ge=1, description="How long a wait that is over is kept")
    workflows_keep_hours: int = Field(
        default=720, ge=0, description="How long a run of a workflow is kept after its end; 0: for good"
    )

"""Settings of the replay service (``HEADRACE_REPLAY_*``)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class ReplaySettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_REPLAY_", env_file=".env", extra="ignore")

    jobs: int = Field(default=1, ge=1, le=16, description="Replays that one instance works on at a time")
    follows: int = Field(default=1, ge=0, le=16, description="Beside them: shadows that follow the live tail")
    lease_seconds: float = Field(
        default=15, ge=2, le=600, description="A replay whose process is gone is taken up elsewhere after so long"
    )
    report_seconds: float = Field(
        default=30, ge=1, le=3_600, description="How often a shadow that follows the live tail makes its report anew"
    )
    poll_seconds: float = Field(default=1, gt=0, le=60, description="How often it looks for a replay to work on")

"""Settings of analytics."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.analytics.windows import Rules
from headrace.config_file import Settings


class AnalyticsSettings(Settings):
    """``HEADRACE_ANALYTICS_*``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_ANALYTICS_", env_file=".env", extra="ignore")

    window_seconds: int = Field(default=60, ge=1, le=86_400, description="Size of a usage window")
    grace_seconds: int = Field(
        default=300, ge=0, description="How far completions may be out of order before one is too late for its window"
    )
    flush_seconds: float = Field(default=2.0, gt=0, description="How often changed windows are stored and announced")
    idle_seconds: float = Field(
        default=900.0, gt=0, description="After so long without a finished run, open windows are announced as final"
    )
    commit_seconds: float = Field(
        default=1.0, gt=0, description="How often offsets are committed: what a kill reads again"
    )
    batch_records: int = Field(default=500, ge=1, le=2_000, description="Audit entries counted at a time, at most")

    def rules(self) -> Rules:
        return Rules(size_ms=self.window_seconds * 1000, grace_ms=self.grace_seconds * 1000)

"""Settings of the ingest service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class IngestSettings(BaseSettings):
    """Bounds of one delivery."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_INGEST_", env_file=".env", extra="ignore")

    max_fan_out: int = Field(
        default=1_000, ge=1, description="Events that one delivery may become; more is a bad record"
    )

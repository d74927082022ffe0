"""Settings of the ingest service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class IngestSettings(Settings):
    """Bounds of one delivery."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_INGEST_", env_file=".env", extra="ignore")

    reminder_window_hours: float = Field(
        default=1.0,
        gt=0,
        le=72,
        description="The same notification of Alertmanager or Grafana is dropped within this time; less than their repeat "
        "interval, so that a reminder is an event again",
    )
    max_fan_out: int = Field(
        default=1_000, ge=1, description="Events that one delivery may become; more is a bad record"
    )

"""Settings of audit."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class AuditSettings(Settings):
    """``HEADRACE_AUDIT_*``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_AUDIT_", env_file=".env", extra="ignore")

    max_queued: int = Field(default=40_000, ge=100, description="Records that wait for their turn, over all partitions")

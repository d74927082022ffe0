"""Settings of persistence."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class PersistenceSettings(Settings):
    """``HEADRACE_PERSISTENCE_*``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_PERSISTENCE_", env_file=".env", extra="ignore")

    batch_records: int = Field(default=1_000, ge=1, description="Records in one database transaction, at most")
    batch_bytes: int = Field(
        default=8_000_000, ge=1, description="Bytes of results in one of them, unless one has more"
    )
    inline_result_bytes: int = Field(
        default=10 * 1024 * 1024, ge=0, description="A result of this size or more stays in the blob store"
    )
    large_results: int = Field(default=4, ge=1, description="Results over 1 MB that are in memory at a time")
    preview_bytes: int = Field(default=4_000, ge=200, description="Bound of each preview of an input, output or event")
    claim_hours: float = Field(default=72, gt=0, description="Claims older than this are forgotten")
    cleanup_minutes: float = Field(default=30, gt=0, description="How often old claims are looked for")

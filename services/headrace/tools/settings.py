"""Settings of the tools service (``HEADRACE_TOOLS_*``); those of outgoing HTTP are ``egress.EgressSettings``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class ToolsSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_TOOLS_", env_file=".env", extra="ignore")

    parallel_calls: int = Field(default=8, ge=1, le=100, description="Calls of one model turn that run at once")
    inline_bytes: int = Field(default=1_024, ge=256, le=65_536, description="JSON past this goes to the blob store")
    max_output_bytes: int = Field(default=1_000_000, ge=10_000, description="JSON that one call may give")
    pipeline_timeout_s: float = Field(default=60, gt=0, le=600)
    pipeline_max_rows: int = Field(default=100_000, ge=1)
    pipeline_max_result_bytes: int = Field(default=10_000_000, ge=10_000)
    pipeline_cache: Literal["all", "inputs", "off"] = Field(
        default="all",
        description="Which results are given again: of every pipeline without effects, of those that fetch nothing, or none",
    )
    pipeline_cache_ttl_s: float = Field(default=3_600, gt=0, le=604_800)
    promote_after: int = Field(default=2, ge=0, description="Uses that make a pipeline a composite tool; 0: none does")
    jq_processes: int = Field(default=2, ge=1, le=64, description="jq programs that run at once")
    jq_timeout_s: float = Field(default=10, gt=0, le=600, description="Of one jq program; half of it in processor time")
    jq_memory_bytes: int = Field(default=512 * 2**20, ge=64 * 2**20, description="Address space of one jq process")
    openapi_timeout_s: float = Field(default=60, gt=0, le=600)
    openapi_max_spec_bytes: int = Field(default=8_000_000, ge=10_000, description="Of one OpenAPI description")
    openapi_keep_s: float = Field(default=900, ge=0, description="How long a fetched OpenAPI description is used")

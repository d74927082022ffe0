"""Settings of the reasoning service, as ``HEADRACE_REASONING_*``."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings


class ReasoningSettings(Settings):
    """How much one reasoner takes on, and how it talks to models."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_REASONING_", env_file=".env", extra="ignore", protected_namespaces=()
    )

    max_in_flight: int = Field(default=1_000, ge=1, description="Records inside the processor at once")
    model_timeout_s: float = Field(default=120, gt=0, description="One model call, its retries included")
    cache_bytes: int = Field(default=64 * 2**20, ge=1, description="Blobs of conversations kept in memory")
    view_chars: int = Field(
        default=40_000,
        ge=1_000,
        description="A single message past this (about 10,000 tokens) is cut in the model's view",
    )
    composite_tools: int = Field(
        default=8, ge=0, le=64, description="The most composite tools that a run is offered; 0: none"
    )
    session_chars: int = Field(
        default=48_000,
        ge=2_000,
        description="Characters of a session's conversation (4 are about a token) past which older turns are shortened",
    )
    budget_lease_s: float = Field(
        default=60, ge=3, le=3_600, description="How long a killed reasoner's part of a budget is held back"
    )
    reply_topics: tuple[str, ...] = Field(
        default=("agent.replies.*",), description="Shell-style patterns of topics that a job's reply_to may name"
    )

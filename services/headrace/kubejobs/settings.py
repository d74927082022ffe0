"""Settings of Kubernetes Jobs (``HEADRACE_KUBE_*``): whether there is a cluster, and what a Job may be at most.

Tools, which submits Jobs, and orchestration, which sees how they end, are given the same.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings
from headrace.kubejobs.images import is_pattern

_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


class KubeSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_KUBE_", env_file=".env", extra="ignore")

    cluster: Literal["none", "in-cluster", "kubeconfig"] = Field(
        default="none", description="How Jobs reach a cluster; none: they are built and shown, not run"
    )
    namespace: str = Field(default="headrace-agents", pattern=_NAME, description="Where Jobs run; of their own, please")
    images: list[str] = Field(
        default_factory=list,
        description="Images for custom_container, as JSON: exact, or with * for the tag (registry.example.org/agents/scan:*)",
    )
    code_interpreter_image: str | None = Field(
        default=None, description="Image of code_interpreter; unset: not offered"
    )
    langchain_agent_image: str | None = Field(default=None, description="Image of langchain_agent; unset: not offered")
    service_account: str | None = Field(
        default=None, pattern=_NAME, description="Service account of Jobs; its token is never mounted"
    )
    runtime_class: str | None = Field(default=None, pattern=_NAME, description="Such as gvisor, for a further sandbox")
    user: int = Field(default=65_532, ge=1, description="User id that containers run as")
    max_seconds: int = Field(default=300, ge=1, le=3_600, description="Longest life of a Job")
    max_cpu_millis: int = Field(default=1_000, ge=10, description="CPU of a Job at most, in thousandths of a core")
    max_memory_mb: int = Field(default=512, ge=16, description="Memory of a Job at most, in MiB")
    max_disk_mb: int = Field(default=256, ge=1, description="Files of a Job at most, in MiB")
    max_input_bytes: int = Field(default=64_000, ge=100, le=100_000, description="JSON that a Job is given")
    max_output_bytes: int = Field(default=500_000, ge=100, description="Output of a Job that is read; more is cut off")
    keep_seconds: int = Field(
        default=3_600,
        ge=0,
        description="How long a finished Job stays in the cluster; its result is lost if orchestration is away for longer",
    )

    @field_validator("images")
    @classmethod
    def _well_formed(cls, images: list[str]) -> list[str]:
        for image in images:
            if not is_pattern(image):
                raise ValueError(f"not an image, or not one with * for the tag alone: {image[:200]!r}")
        return images

"""Settings that every part of a mesh shares, read from the environment once at start-up.

Each service adds its own in ``<service>/settings.py``. Names without a prefix (``KAFKA_BOOTSTRAP_SERVERS``, ...) are the ones that
other tools use too; everything else is ``HEADRACE_*``. Secrets are ``SecretStr``: they print as asterisks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from headrace.config_file import Settings

SettingsProblem = ValidationError | SettingsError


def problems(error: SettingsProblem) -> str:
    """Which settings are wrong, and why; without the values, which may be secrets."""
    if isinstance(error, SettingsError):  # names the field only; its cause would quote the value
        return str(error)
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)


class MeshSettings(Settings):
    """Where the mesh's parts are, and who this process is in it."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", env_file=".env", extra="ignore", populate_by_name=True)

    kafka_bootstrap_servers: str = Field(
        default="127.0.0.1:9092", validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers")
    )
    kafka_options: dict[str, str] = Field(
        default_factory=dict, description="Further librdkafka options as JSON (security.protocol, sasl.*, ssl.*)"
    )
    schema_registry_url: str = Field(
        default="http://127.0.0.1:8081", validation_alias=AliasChoices("SCHEMA_REGISTRY_URL", "schema_registry_url")
    )
    schema_registry_auth: SecretStr | None = Field(default=None, description="user:password")
    database_url: SecretStr = Field(
        default=SecretStr("postgresql://127.0.0.1:5432/headrace"),
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Put before each topic, group and transactional id"
    )
    group_protocol: Literal["consumer", "classic"] = Field(
        default="consumer", description="consumer: KIP-848 (Kafka >= 4.0); classic: Redpanda and older Kafka"
    )
    instance: str = Field(
        default="0", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Slot of this process among its service's replicas"
    )
    tenant: str = Field(default="default", description="Tenant of events whose sender has none")
    blob_store: Literal["postgres", "directory"] = "postgres"
    blob_dir: Path = Path(".headrace/blobs")
    max_record_bytes: int = Field(default=900_000, ge=10_000, description="A value past this becomes a claim check")
    ops_host: str = "127.0.0.1"
    ops_port: int = Field(default=0, description="/healthz /readyz /metrics /status of this process; 0: any free port")
    commit_interval_ms: int = Field(
        default=100,
        ge=0,
        le=1_000,
        description="Longest pause between two transactions of a busy service; 0: none. Five times as long where no run waits",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: float = Field(default=30, ge=0, description="How long a stop waits for work in flight")

    def physical_topic(self, name: str) -> str:
        """The cluster's name of a topic."""
        return self.topic_prefix + name

    def logical_topic(self, name: str) -> str:
        """The mesh's name of a cluster topic."""
        return name.removeprefix(self.topic_prefix)

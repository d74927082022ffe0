"""One topic's declaration, as its YAML file writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from headrace.contracts.data import topics_dir
from headrace.messages.base import Format

FOREVER: Final = -1  # as Kafka's retention.ms says it
_UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RETENTION: Final = re.compile(r"^([1-9][0-9]*)([mhd])$")


class TopicSpec(BaseModel):
    """Purpose, shape and parties of a topic. A party in parentheses is outside the mesh: ``(producers)``."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9.]{0,180}$")
    purpose: str = Field(min_length=1)
    key: str = Field(min_length=1)
    partitions: int = Field(ge=1, le=10_000)
    retention: str = Field(description="Such as 30d, 12h, 45m; or forever")
    cleanup: Literal["delete", "compact"]
    format: Format
    schema_name: str | None = Field(default=None, alias="schema", description="Folder below schemas/")
    producers: tuple[str, ...] = Field(min_length=1)
    consumers: tuple[str, ...] = Field(min_length=1)
    dead_letters: tuple[str, ...] = ()
    max_message_bytes: int = Field(default=1_048_588, ge=1_048_588, description="Kafka's own default, or more")

    @field_validator("retention")
    @classmethod
    def _known_retention(cls, text: str) -> str:
        if text != "forever" and not _RETENTION.match(text):
            raise ValueError("say it as 30d, 12h, 45m or forever")
        return text

    @property
    def retention_ms(self) -> int:
        """Milliseconds, or ``FOREVER``."""
        if match := _RETENTION.match(self.retention):
            return int(match[1]) * _UNITS[match[2]]
        return FOREVER

    @property
    def services_in(self) -> tuple[str, ...]:
        """The mesh's own services that produce to it."""
        return tuple(name for name in self.producers if not name.startswith("("))

    @property
    def services_out(self) -> tuple[str, ...]:
        """The mesh's own services that consume it."""
        return tuple(name for name in self.consumers if not name.startswith("("))


def load(path: Path) -> TopicSpec:
    """One topic file.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    try:
        spec = TopicSpec.model_validate(yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    if path.stem != spec.name:
        raise ValueError(f"{path.name}: declares {spec.name}; a topic's file has the topic's name")
    return spec


def load_all(directory: Path | None = None) -> dict[str, TopicSpec]:
    """All topics by name, sorted. Raises ``ValueError`` as ``load`` does."""
    specs = [load(path) for path in sorted((directory or topics_dir()).glob("*.yaml"))]
    return {spec.name: spec for spec in specs}

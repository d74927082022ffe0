"""The configuration file, ``HEADRACE_CONFIG=config.yaml``: another way to write settings, below the environment and ``.env``.

Its keys are those that an agent service of before the mesh was configured with. Each stands for one setting (``_SETTINGS``), and is
read as if that variable were set; one that the mesh has no use for is accepted and named in the log (``Configuration.unused``), and
a key that is none at all is an error. A text may hold ``${NAME}``, which is replaced from the environment and nowhere else, so that
the file needs no secret in it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsError

VARIABLE: Final = "HEADRACE_CONFIG"
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Settings(BaseSettings):
    """Settings of a part of the mesh. Arguments go before the environment, that before ``.env``, that before the file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        above = (init_settings, env_settings, dotenv_settings, file_secret_settings)
        path = os.environ.get(VARIABLE)
        return (*above, _FileSource(settings_cls, path)) if path else above


class _FileSource(EnvSettingsSource):
    """The variables that the file stands for, as if they were the environment."""

    def __init__(self, settings_cls: type[BaseSettings], path: str) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in load(Path(path), os.environ).variables().items()}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Service(_Section):
    """``workers``: jobs that one process works on at once."""

    name: str | None = None
    port: int | None = Field(default=None, ge=0, le=65_535)
    workers: int | None = Field(default=None, ge=1)


class Database(_Section):
    host: str = "localhost"
    port: int = Field(default=5432, ge=1, le=65_535)
    dbname: str = Field(min_length=1)
    user: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        who = quote(self.user, safe="") if self.user else ""
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{who}{secret}{'@' if who else ''}{host}:{self.port}/{quote(self.dbname, safe='')}"


class Llm(_Section):
    provider: Literal["openai", "anthropic", "offline"]
    model: str | None = Field(default=None, min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    timeout_sec: float | None = Field(default=None, gt=0)

    @property
    def spec(self) -> str:
        named = self.model is not None and self.provider != "offline"
        return f"{self.provider}:{self.model}" if named else self.provider


class Orchestrator(_Section):
    api_url: str | None = Field(default=None, pattern=r"^https?://")


class Storage(_Section):
    """Without the content store there is no place for what is large, and there is no other store."""

    max_inline_bytes: int | None = Field(default=None, ge=0)
    cas_enabled: Literal[True] = True
    s3_enabled: Literal[False] = False


class Configuration(_Section):
    """The whole file."""

    service: Service | None = None
    redis: dict[str, Any] | None = None
    database: Database | None = None
    llm: Llm | None = None
    orchestrator: Orchestrator | None = None
    storage: Storage | None = None
    auth_profiles: dict[str, dict[str, Any]] | None = None

    def variables(self) -> dict[str, str]:
        """The settings that it gives, by the names of their environment variables."""
        found: dict[str, str] = {}
        for path, (variable, written) in _SETTINGS.items():
            section, _, key = path.partition(".")
            value = getattr(self, section)
            if value is not None and key:
                value = getattr(value, key)
            if value is not None:
                found[variable] = written(value)
        return found

    def unused(self) -> list[str]:
        """Keys that are given and that nothing in the mesh reads."""
        redis = [f"redis.{key}" for key in self.redis or ()]
        return [*(["service.name"] if self.service and self.service.name is not None else []), *redis]


_SETTINGS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "service.port": ("HEADRACE_GATEWAY_PORT", str),
    "service.workers": ("HEADRACE_REASONING_MAX_IN_FLIGHT", str),
    "database.url": ("DATABASE_URL", str),
    "llm.spec": ("HEADRACE_MODEL", str),
    "llm.temperature": ("HEADRACE_MODEL_TEMPERATURE", str),
    "llm.max_tokens": ("HEADRACE_MODEL_MAX_OUTPUT_TOKENS", str),
    "llm.timeout_sec": ("HEADRACE_REASONING_MODEL_TIMEOUT_S", str),
    "orchestrator.api_url": ("HEADRACE_ORCHESTRATOR_API_URL", str),
    "storage.max_inline_bytes": ("HEADRACE_PERSISTENCE_INLINE_RESULT_BYTES", str),
    "auth_profiles": ("HEADRACE_AUTH_PROFILES", json.dumps),
}
VARIABLES: Final = frozenset(variable for variable, _ in _SETTINGS.values())


def load(path: Path, environ: Mapping[str, str]) -> Configuration:
    """The file, its references replaced. Raises ``SettingsError`` that names the key, and never a value."""
    import yaml  # most processes have no such file

    try:
        document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(f"{VARIABLE}: {path}: not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    try:
        return Configuration.model_validate(_resolved({} if document is None else document, "", path, environ))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {_said(one)}" for one in found)
        raise SettingsError(f"{VARIABLE}: {path}: {told}") from None


def unused(environ: Mapping[str, str]) -> list[str]:
    """Keys of the file, if there is one, that nothing in the mesh reads."""
    path = environ.get(VARIABLE)
    return load(Path(path), environ).unused() if path else []


def _said(error: Any) -> str:
    return "no such key" if error["type"] == "extra_forbidden" else str(error["msg"])


def _resolved(value: Any, where: str, path: Path, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(item, f"{where}.{key}".lstrip("."), path, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, f"{where}.{index}", path, environ) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    missing = [name for name in _REFERENCE.findall(value) if name not in environ]
    if missing:
        raise SettingsError(f"{VARIABLE}: {path}: {where}: {', '.join(missing)} is not set")
    return _REFERENCE.sub(lambda match: environ[match[1]], value)

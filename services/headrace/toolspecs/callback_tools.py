"""Callback tools: services of the operator that take a call over HTTP, work for as long as it takes, and report its outcome.

    tools:
      export_orders:
        description: Exports the orders of one month, and says where they are.
        url: https://exports.example.org/jobs
        parameters: {type: object, required: [month], properties: {month: {type: string}}}
        auth_profile: exports
        timeout_s: 3600

All services that need to know of them read the same file: who publishes agents, who shows tools to models, who calls them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings
from headrace.toolspecs import SPECS
from headrace.toolspecs.spec import BadToolFile, Spec

_MAX_DESCRIPTION: Final = 2_000  # characters
_NONE: Final[Mapping[str, CallbackTool]] = MappingProxyType({})


class CallbackToolSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_CALLBACK_", env_file=".env", extra="ignore")

    tools: Path | None = Field(
        default=None,
        description="YAML file of the callback tools; read by tools, reasoning, replay, the gateway and commands",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#]+/?$",
        description="Where their services reach the gateway, such as https://mesh.example.org; the tools service needs it for them",
    )


class CallbackTool(BaseModel):
    """One tool. ``timeout_s`` runs from the call to the report; then the model reads the error ``timeout``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(min_length=1, max_length=_MAX_DESCRIPTION)
    url: str = Field(pattern=r"^https?://")
    parameters: dict[str, Any] = {"type": "object"}
    auth_profile: str | None = None
    timeout_s: float = Field(default=3_600, gt=0, le=2_592_000)

    def spec(self, name: str) -> Spec:
        """The tool as models see it. Its version is a digest: whatever changes in the file is another one."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return Spec(name, f"callback-{digest[:12]}", self.description, self.parameters, "idempotent")


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: dict[_Name, CallbackTool] = {}


def read_callback_tools(file: Path | None) -> Mapping[str, CallbackTool]:
    """By name. Raises ``BadToolFile`` that names the place, and no value."""
    if file is None:
        return _NONE
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise BadToolFile(f"{file}: {error.strerror}") from None


@lru_cache(maxsize=4)
def _read(file: Path, _modified: int) -> Mapping[str, CallbackTool]:
    try:
        found = _File.model_validate(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) or {}).tools
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadToolFile(f"{file}: not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BadToolFile(f"{file}: /{where}: {first['msg']}") from None
    if ours := sorted(found.keys() & SPECS.keys()):
        raise BadToolFile(f"{file}: {ours[0]} is a tool of headrace")
    return MappingProxyType(found)

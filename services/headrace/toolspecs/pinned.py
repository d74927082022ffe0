"""Tools of MCP servers, as the operator has pinned them.

What an MCP server says of its tools is text from a stranger that may change at any time. So nothing of it is used as it comes:
``headrace mcp pin`` writes it into a file, the operator reads that, and all services work by the file. A tool that is not in it
does not exist here; one that its server describes otherwise by now is not called.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import SettingsConfigDict

from headrace.config_file import Settings
from headrace.toolspecs import SPECS
from headrace.toolspecs.callback_tools import CallbackToolSettings, read_callback_tools
from headrace.toolspecs.spec import BadToolFile, Effect, Spec

NAME: Final = r"^[a-zA-Z0-9_-]{1,64}$"  # what the providers of models take
MAX_DESCRIPTION: Final = 2_000  # characters
SUFFIX: Final = ".pins.json"
_CONTROL: Final = re.compile(r"[^\S\n ]+|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")


class BadPins(BadToolFile):
    """The file of pins is not usable; the text says why."""


class McpSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_MCP_", env_file=".env", extra="ignore")

    servers: Path | None = Field(
        default=None, description="YAML file of the MCP servers whose tools agents may use; read by the tools service"
    )
    pins: Path | None = Field(
        default=None,
        description="File that `headrace mcp pin` writes, beside the servers' unless said; "
        "read by tools, reasoning, replay and commands",
    )

    @property
    def pins_file(self) -> Path | None:
        if self.pins is None and self.servers is not None:
            return self.servers.with_name(self.servers.name + SUFFIX)
        return self.pins


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says of one of its tools, as far as it counts."""

    tool: str
    description: str
    parameters: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it: the same exactly if nothing has changed."""
        content = [self.tool, self.description, self.parameters]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Pin(BaseModel):
    """One tool in the file of pins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str
    tool: str = Field(max_length=256)
    effect: Effect
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    description: str = Field(max_length=MAX_DESCRIPTION)
    parameters: dict[str, Any]

    def spec(self, name: str) -> Spec:
        """The tool as models see it: whose words these are is said, since they are not the mesh's."""
        return Spec(
            name=name,
            version=f"mcp-{self.digest[:12]}",
            description=f"[{self.server}, {self.tool}] {self.description}".rstrip(),
            parameters=self.parameters,
            effect=self.effect,
        )


class Pins(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    tools: dict[str, Pin] = {}


def pin(server: str, effect: Effect, said: Said) -> Pin:
    """Control, zero-width and direction characters, which a reader would not see, are left out of the description."""
    plain = _CONTROL.sub(" ", said.description).strip()[:MAX_DESCRIPTION]
    return Pin(
        server=server,
        tool=said.tool,
        effect=effect,
        digest=said.digest,
        description=plain,
        parameters=said.parameters,
    )


def pinned_name(server: str, tool: str) -> str:
    """The name that agents know ``tool`` by. Raises ``BadPins`` for one that providers of models would refuse."""
    name = f"{server}__{re.sub(r'[^a-zA-Z0-9_-]', '_', tool)}"
    if not re.match(NAME, name):
        raise BadPins(f"the tool {tool[:100]!r} of {server} has no name of at most 64 characters here")
    if name in SPECS:
        raise BadPins(f"{name} is a tool of headrace")
    return name


def read_pins(file: Path | None) -> Pins:
    """Raises ``BadPins``. No file is no pins: nothing was pinned yet."""
    if file is None or not file.exists():
        return Pins()
    return _read(file, file.stat().st_mtime_ns)


def known(settings: McpSettings | None = None) -> Mapping[str, Spec]:
    """All tools of this mesh: its own, callback tools, and those that are pinned. Raises ``BadToolFile``."""
    pins = read_pins((settings or McpSettings()).pins_file).tools
    callbacks = read_callback_tools(CallbackToolSettings().tools)
    theirs = {name: one.spec(name) for name, one in pins.items()}
    theirs |= {name: one.spec(name) for name, one in callbacks.items()}
    return MappingProxyType(theirs | dict(SPECS))


@lru_cache(maxsize=4)
def _read(file: Path, _modified: int) -> Pins:
    try:
        return Pins.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BadPins(f"{file}: /{where}: {first['msg']}; write it anew with `headrace mcp pin`") from None

"""The operator's file of MCP servers: how each is reached, and which of its tools agents may have.

    servers:
      tickets:
        command: [/opt/tickets/bin/server, --read-only]
        env: {TICKETS_TOKEN: "${TICKETS_TOKEN}"}
        tools: {search: {effect: none}, comment: {effect: idempotent}}
      wiki:
        url: https://wiki.example.org/mcp
        auth_profile: wiki
        tools: {find_page: {effect: none}}

``${NAME}`` is read from the environment of the tools service. A server's own hints about effects are not believed: the operator
says what may be repeated.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from headrace.messages.errors import FatalError
from headrace.registry.yaml12 import Document, YamlProblem
from headrace.toolspecs import Effect

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _from_environment(value: Any) -> Any:
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match[1] not in os.environ:
        raise ValueError(f"the environment variable {match[1]} is not set")
    return os.environ[match[1]]


Value = Annotated[SecretStr, BeforeValidator(_from_environment)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ToolGrant(_Strict):
    """``idempotent``: a call may reach the server twice, with the same key in its ``_meta``; ``once``: it may not, so a call whose
    outcome was lost waits for a person.
    """

    effect: Effect


class McpServer(_Strict):
    """One server: a ``command`` to run (stdio), or a ``url`` (streamable HTTP)."""

    command: tuple[str, ...] = ()
    env: dict[str, Value] = Field(default={}, description="All that the command's environment has")
    cwd: Path | None = None
    url: str | None = Field(default=None, pattern=r"^https?://")
    auth_profile: str | None = None
    timeout_s: float = Field(default=60, gt=0, le=600)
    tools: dict[str, ToolGrant] = Field(default={}, description="The tools that agents may be given")

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == (self.url is not None):
            raise ValueError("give either command or url")
        if self.url is not None and (self.env or self.cwd):
            raise ValueError("env and cwd are for a command")
        if self.command and self.auth_profile:
            raise ValueError("auth_profile is for a url")
        return self


ServerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,23}$")]


class McpConfig(_Strict):
    servers: dict[ServerName, McpServer] = {}


def load(file: Path) -> McpConfig:
    """Raises ``FatalError`` that says what is wrong, without the values."""
    try:
        return McpConfig.model_validate(Document(file.read_text(encoding="utf-8")).value or {})
    except OSError as error:
        raise FatalError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, YamlProblem) as error:
        raise FatalError(f"{file}: {error}") from None
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise FatalError(
            f"{file}: " + "; ".join(f"/{'/'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
        ) from None

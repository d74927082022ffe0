"""docker-compose.yml as Compose reads it: merge keys by YAML, `${...}` from a given environment, services by name."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
PASSWORD = "0123456789abcdef0123456789abcdef"
GIVEN = {"POSTGRES_PASSWORD": PASSWORD, "HEADRACE_AUTH_SECRET": PASSWORD * 4}
"""The least that a `.env` has to say."""

Service = dict[str, Any]
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:?[-?])((?:[^{}])*))?\})")


@cache
def text() -> str:
    return FILE.read_text(encoding="utf-8")


@cache
def raw() -> dict[str, Any]:
    """The document before interpolation."""
    document: dict[str, Any] = yaml.safe_load(text())
    return document


def document(environ: Mapping[str, str] = GIVEN) -> dict[str, Any]:
    """The document for this environment. Raises `KeyError` for a required variable that is not set."""
    resolved: dict[str, Any] = _resolve(raw(), environ)
    return resolved


def services(environ: Mapping[str, str] = GIVEN) -> dict[str, Service]:
    found: dict[str, Service] = document(environ)["services"]
    return found


def ours() -> dict[str, Service]:
    """Those that run our image."""
    return {name: service for name, service in services().items() if "build" in service}


def mesh() -> dict[str, Service]:
    """The services of the pipeline: ours but for the one-shot."""
    return {name: service for name, service in ours().items() if service["command"][0] == "run"}


def example() -> dict[str, str]:
    """Variables that .env.example names, those behind a comment sign too."""
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


def variables() -> set[str]:
    """Names in `${...}` anywhere in the file."""
    return {match[2] for match in _VARIABLE.finditer(text()) if match[2]}


def _resolve(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(one, environ) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolve(one, environ) for one in value]
    return _VARIABLE.sub(lambda match: _value(match, environ), value) if isinstance(value, str) else value


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    escaped, name, operator, operand = match.groups()
    if escaped:
        return "$"
    found = environ.get(name)
    missing = found is None or (found == "" and (operator or "").startswith(":"))
    if not missing or not operator:
        return found or ""
    if operator.endswith("?"):
        raise KeyError(f"{name}: {operand}")
    return str(operand)

"""From a YAML (or JSON) file to a checked agent definition.

``load_file`` and ``load_text`` report *all* problems at once, each with file, line and path, since authors fix them in one go.
``check`` holds what a definition must satisfy beyond its types, and is run again on whatever wants to be published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from headrace.contracts.documents import part_schemas
from headrace.messages.agent import AgentDefinition, Limits, Trigger
from headrace.messages.errors import BadMessage
from headrace.registry.runtimes import problems as runtime_problems
from headrace.registry.schemas import InvalidSchema, compile_schema
from headrace.registry.triggers import problems as trigger_problems
from headrace.registry.yaml12 import Document, YamlProblem
from headrace.toolspecs import SPECS
from headrace.toolspecs.pinned import known
from headrace.toolspecs.spec import BadToolFile

Path_ = tuple[str | int, ...]
_SHOWN: Final = 300  # characters: a message may quote the value
_DOMAIN: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a definition, and where. Prints as ``file:line: /path: message``."""

    message: str
    path: Path_ = ()
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        pointer = "/" + "/".join(str(step) for step in self.path) if self.path else ""
        return ": ".join(part for part in (place, pointer, self.message) if part)


class InvalidDefinition(BadMessage):
    """A definition that can't be used; ``problems`` has all the reasons."""

    cause = "agent_definition"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_file(path: Path) -> AgentDefinition:
    """Raises ``InvalidDefinition`` or ``OSError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidDefinition((Problem("not UTF-8", file=str(path)),)) from None
    return load_text(text, file=str(path))


def load_text(text: str, *, file: str | None = None) -> AgentDefinition:
    """The definition that ``text`` (one YAML or JSON document) holds. Raises ``InvalidDefinition``."""
    try:
        document = Document(text)
    except YamlProblem as problem:
        raise InvalidDefinition((Problem(str(problem), file=file, line=problem.line),)) from None
    definition, problems = _parse(document.value)
    if problems or definition is None:
        raise InvalidDefinition(tuple(_locate(problem, document, file) for problem in problems))
    return definition


def check(definition: AgentDefinition) -> list[Problem]:
    """Everything that is wrong with ``definition`` beyond its types; empty if it may be published."""
    found = [Problem(message, (field,)) for field, message in runtime_problems(definition)]
    return [*_check_schemas(definition), *_check_tools(definition), *_check_triggers(definition), *found]


def _parse(value: Any) -> tuple[AgentDefinition | None, list[Problem]]:
    if not isinstance(value, dict):
        return None, [Problem("a definition is a mapping of fields")]
    problems = list(_unknown_fields(value))
    if wrong := [_problem(error) for error in _contract().iter_errors(value)]:
        return None, problems + wrong
    definition = AgentDefinition.checked(value)
    return definition, problems + check(definition)


@cache
def _contract() -> jsonschema_rs.Validator:
    """The contract of a definition, which names all that is wrong; reading the message names the first thing only."""
    parts = part_schemas((AgentDefinition,))
    return compile_schema({"$ref": "#/$defs/AgentDefinition", "$defs": parts})


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    path = tuple(error.instance_path)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return Problem("is required", (*path, error.kind.property))
    quotes = isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type) and "string" in error.kind.types
    return Problem(error.message[:_SHOWN] + ("; put it in quotes" if quotes else ""), path)


def _unknown_fields(value: dict[str, Any]) -> Iterator[Problem]:
    """A misspelt field would be ignored like one of a later version, so authors are told here."""
    yield from _not_in(AgentDefinition, value, ())
    yield from _not_in(Limits, value.get("limits"), ("limits",))
    triggers = value.get("triggers")
    for index, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
        yield from _not_in(Trigger, trigger, ("triggers", index))


def _not_in(model: type[AgentDefinition | Limits | Trigger], value: Any, path: Path_) -> Iterator[Problem]:
    for key in value if isinstance(value, dict) else ():
        if key not in model.__struct_fields__:
            yield Problem("unknown field", (*path, str(key)))


def _check_schemas(definition: AgentDefinition) -> Iterator[Problem]:
    for name in ("input_schema", "output_schema"):
        try:
            compile_schema(getattr(definition, name))
        except InvalidSchema as error:
            yield Problem(f"not a usable JSON Schema: {error}", (name,))


def _check_tools(definition: AgentDefinition) -> Iterator[Problem]:
    unknown = [(index, tool) for index, tool in enumerate(definition.tools) if tool not in SPECS]
    try:
        there = known() if unknown else SPECS
    except BadToolFile as problem:
        yield Problem(str(problem), ("tools",))
        there = SPECS
    for index, tool in unknown:
        if tool not in there:
            yield Problem(f"unknown tool {tool!r}; there are: {', '.join(sorted(there))}", ("tools", index))
    for index, domain in enumerate(definition.http_domains):
        if not _DOMAIN.fullmatch(domain) or (domain.startswith("*.") and domain.count(".") < 2):
            yield Problem(
                f"{domain!r} is not a host name or *.host name below a top-level domain", ("http_domains", index)
            )


def _check_triggers(definition: AgentDefinition) -> Iterator[Problem]:
    for index, trigger in enumerate(definition.triggers):
        for field, message in trigger_problems(trigger):
            yield Problem(message, ("triggers", index, field))


def _locate(problem: Problem, document: Document, file: str | None) -> Problem:
    return Problem(problem.message, problem.path, file, document.line(problem.path))

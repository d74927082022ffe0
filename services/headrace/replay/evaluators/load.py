"""From a YAML (or JSON) file to checked evaluators. All problems are said at once, each with file, line and place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.messages.errors import BadMessage
from headrace.registry.filters import InvalidFilter, compile_filter
from headrace.registry.load import Problem
from headrace.registry.schemas import InvalidSchema, compile_schema
from headrace.registry.yaml12 import Document, YamlProblem
from headrace.replay.evaluators.checks import InvalidPattern, compile_pattern
from headrace.replay.evaluators.definitions import MAX_EVALUATORS, Evaluator, Numeric, Pattern, Schema

_MOST_BYTES: Final = 262_144
_PLACE: Final = re.compile(r"^(.*?) - at `\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_SHOWN: Final = 300  # characters: a message may quote the value
Path_ = tuple[str | int, ...]


class InvalidEvaluators(BadMessage):
    """A file that can't be used; the text has all the reasons, one to a line."""

    cause = "evaluators"


def load_evaluators(path: Path) -> tuple[Evaluator, ...]:
    """Raises ``InvalidEvaluators`` or ``OSError``."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    try:
        return parse_evaluators(data.decode("utf-8"), file=str(path))
    except UnicodeDecodeError:
        raise InvalidEvaluators(f"{path}: not UTF-8") from None


def parse_evaluators(text: str, *, file: str | None = None) -> tuple[Evaluator, ...]:
    """The evaluators of one document, ``{evaluators: [...]}``. Raises ``InvalidEvaluators``."""
    try:
        document = Document(text)
    except YamlProblem as problem:
        raise InvalidEvaluators(str(Problem(str(problem), file=file, line=problem.line))) from None
    found, problems = _parsed(document.value)
    if problems:
        placed = [Problem(one.message, one.path, file, document.line(one.path)) for one in problems]
        raise InvalidEvaluators("\n".join(map(str, placed)))
    return found


def with_gates(evaluators: Sequence[Evaluator], asked: Mapping[str, float]) -> tuple[Evaluator, ...]:
    """The same, with these as their ``at_least``. Raises ``InvalidEvaluators`` for a name that none has."""
    if unknown := sorted(asked.keys() - {one.name for one in evaluators}):
        there = ", ".join(one.name for one in evaluators) or "none"
        raise InvalidEvaluators(f"no evaluator {unknown[0][:60]}; there are: {there}")
    return tuple(msgspec.structs.replace(one, at_least=asked.get(one.name, one.at_least)) for one in evaluators)


def _parsed(value: Any) -> tuple[tuple[Evaluator, ...], list[Problem]]:
    if not isinstance(value, dict) or not isinstance(listed := value.get("evaluators"), list):
        return (), [Problem("evaluators go in a list under the name evaluators")]
    problems = [Problem("unknown field", (str(key),)) for key in value if key != "evaluators"]
    if not 0 < len(listed) <= MAX_EVALUATORS:
        problems.append(Problem(f"1 to {MAX_EVALUATORS} evaluators", ("evaluators",)))
        return (), problems
    found: list[Evaluator] = []
    for index, item in enumerate(listed):
        place = ("evaluators", index)
        try:
            one: Evaluator = msgspec.convert(item, Evaluator)
        except msgspec.ValidationError as error:
            problems.append(_converted(str(error), place))
            continue
        found.append(one)
        problems += [Problem(message, (*place, field)) for field, message in _wrong(one)]
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    problems += [Problem(f"two are called {name}", ("evaluators",)) for name in twice]
    return tuple(found), problems


def _converted(text: str, place: Path_) -> Problem:
    """msgspec's words, and where it says they are for."""
    match = _PLACE.match(text)
    message, where = (match[1], match[2]) if match else (text, "")
    steps = tuple(name or int(number) for name, number in _STEP.findall(where))
    return Problem(message[:_SHOWN], (*place, *steps))


def _wrong(one: Evaluator) -> Iterator[tuple[str, str]]:
    """What is wrong with an evaluator beyond its types, by field."""
    for field, expression in one.expressions.items():
        if expression is not None:
            try:
                compile_filter(expression)
            except InvalidFilter as error:
                yield field, f"not an expression that is taken here: {error}"
    try:
        if isinstance(one, Pattern):
            compile_pattern(one.pattern)
        elif isinstance(one, Schema):
            compile_schema(one.schema)
    except InvalidPattern as error:
        yield "pattern", str(error)
    except InvalidSchema as error:
        yield "schema", f"not a usable JSON Schema: {error}"
    if isinstance(one, Numeric) and one.source == "expected" and not _is_number(one.expected):
        yield "expected", "is not a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

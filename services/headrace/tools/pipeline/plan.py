"""From the steps that a model wrote to a plan, with everything wrong named before anything runs.

The tool's schema has said that each step exists and each field has its type; here is what a step needs and takes. A
field that its step does not take is refused: a model that writes ``top_k`` with a ``field`` expects something else
than it would get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.messages.base import JsonObject
from headrace.tools.api import ToolFailure
from headrace.tools.pipeline.dates import parse_date
from headrace.tools.pipeline.extract import regex_extract
from headrace.tools.pipeline.fetch import HttpRequest, http_request
from headrace.tools.pipeline.filter import table_filter
from headrace.tools.pipeline.groupby import groupby
from headrace.tools.pipeline.join import Join, join
from headrace.tools.pipeline.jq.program import JqProgram, jq_transform
from headrace.tools.pipeline.rows import StepError, bad_argument
from headrace.tools.pipeline.select import table_select, top_k
from headrace.tools.pipeline.sort import table_sort
from headrace.tools.pipeline.step import Transform

SOURCE: Final = "http_request"


@dataclass(frozen=True, slots=True)
class Primitive:
    """``make`` turns arguments that have all of ``required`` and nothing past ``optional`` into a step."""

    make: Callable[[JsonObject], Any]
    required: frozenset[str]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """``index`` is the step's place in the call's list, from 0."""

    index: int
    name: str
    work: Transform | Join | JqProgram


@dataclass(frozen=True, slots=True)
class Plan:
    request: HttpRequest | None
    steps: tuple[Step, ...]

    @property
    def begins_with_join(self) -> bool:
        """Whether the rows come from a join of two references."""
        return bool(self.steps) and isinstance(self.steps[0].work, Join) and self.steps[0].work.is_source

    @property
    def begins_with_jq(self) -> bool:
        """Whether the first step wants the document as it came, not its rows."""
        return bool(self.steps) and isinstance(self.steps[0].work, JqProgram)


def make_plan(pipeline: Sequence[JsonObject], *, has_input: bool) -> Plan:
    """Raises ``ToolFailure`` (``invalid_arguments``) naming the step."""
    request: HttpRequest | None = None
    steps: list[Step] = []
    for index, arguments in enumerate(pipeline):
        name = str(arguments["step"])
        try:
            made = _make(name, arguments)
            _check_source(name, made, index, has_input=has_input)
        except StepError as error:
            raise step_failure(error, index, name) from None
        if name == SOURCE:
            request = made
        else:
            steps.append(Step(index, name, made))
    return Plan(request, tuple(steps))


def step_failure(error: StepError, index: int, name: str) -> ToolFailure:
    """``error`` as the model sees it: with the place and the name of its step."""
    return ToolFailure(error.type, f"pipeline[{index}] {name}: {error}", retryable=error.retryable, step=name)


def _make(name: str, arguments: JsonObject) -> Any:
    primitive = PRIMITIVES.get(name)
    if primitive is None:
        raise bad_argument(f"there is no such step; there are: {', '.join(PRIMITIVES)}")
    given = set(arguments) - {"step"}
    if missing := primitive.required - given:
        raise bad_argument(f"needs {', '.join(sorted(missing))}")
    if extra := given - primitive.required - primitive.optional:
        raise bad_argument(f"does not take {', '.join(sorted(extra))[:200]}")
    return primitive.make(arguments)


def _check_source(name: str, made: Any, index: int, *, has_input: bool) -> None:
    is_source = name == SOURCE or (isinstance(made, Join) and made.is_source)
    if index == 0 and not is_source and not has_input:
        raise bad_argument(f"has no rows: give input_ref, or begin with {SOURCE} or a join of left and right")
    if is_source and (index > 0 or has_input):
        raise bad_argument("must be the first step and without input_ref: it would replace the rows that are there")


PRIMITIVES: Final[dict[str, Primitive]] = {
    SOURCE: Primitive(http_request, frozenset({"url"}), frozenset({"method", "params"})),
    "table_sort": Primitive(table_sort, frozenset({"field"}), frozenset({"order"})),
    "table_filter": Primitive(table_filter, frozenset({"condition"})),
    "table_select": Primitive(table_select, frozenset({"fields"})),
    "top_k": Primitive(top_k, frozenset({"k"})),
    "groupby": Primitive(groupby, frozenset({"by", "agg"}), frozenset({"field"})),
    "join": Primitive(join, frozenset({"on"}), frozenset({"left", "right"})),
    "jq_transform": Primitive(jq_transform, frozenset({"query"})),
    "regex_extract": Primitive(regex_extract, frozenset({"field", "pattern"})),
    "parse_date": Primitive(parse_date, frozenset({"field"}), frozenset({"format"})),
}

"""Arguments are checked against the tool's JSON Schema; what is wrong is said with a JSON pointer, so that a model
can repair it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from headrace.messages.base import JsonObject
from headrace.models.arguments import MALFORMED
from headrace.registry.schemas import compile_schema, pointer, told, violations
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput

_MAX_PROBLEMS = 5
_MAX_STEP = 64  # characters


def checked(parameters: JsonObject, run: Run) -> Run:
    """Raises ``ValueError`` at once if ``parameters`` is no valid schema, or refers to another document."""
    validator = compile_schema(parameters)

    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if MALFORMED in arguments:
            raise ToolFailure("invalid_arguments", "the arguments were no JSON object: write them as one")
        if not validator.is_valid(arguments):
            errors = list(islice(violations(validator, arguments), _MAX_PROBLEMS))
            problems = [f"{pointer(error.instance_path)}: {told(error)}" for error in errors]
            step = _step_at(arguments, errors[0].instance_path)
            raise ToolFailure("invalid_arguments", "; ".join(problems), step=step)
        return await run(arguments, context)

    return guarded


def _step_at(arguments: JsonObject, path: Sequence[str | int]) -> str | None:
    """The name of the step that this place is in, where the arguments are a list of steps."""
    match path:
        case [str(name), int(index), *_]:
            step = arguments[name][index]
            named = step.get("step") if isinstance(step, dict) else None
            return named[:_MAX_STEP] if isinstance(named, str) else None
    return None

"""Arguments are checked against the tool's JSON Schema; what is wrong is said with a JSON pointer, so that a model
can repair it.
"""

from __future__ import annotations

from itertools import islice
from typing import NoReturn

import jsonschema_rs

from headrace.messages.base import JsonObject
from headrace.models.arguments import MALFORMED
from headrace.tools.api import Run, ToolContext, ToolFailure, ToolOutput

_MAX_PROBLEMS = 5
_MAX_TEXT = 300  # characters of one problem: it may quote the argument


def checked(parameters: JsonObject, run: Run) -> Run:
    """Raises ``ValueError`` at once if ``parameters`` is no valid schema, or refers to another document."""
    validator = jsonschema_rs.validator_for(
        parameters, retriever=_no_retrieval, pattern_options=jsonschema_rs.RegexOptions()
    )

    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if MALFORMED in arguments:
            raise ToolFailure("invalid_arguments", "the arguments were no JSON object: write them as one")
        if not validator.is_valid(arguments):
            problems = [_described(error) for error in islice(validator.iter_errors(arguments), _MAX_PROBLEMS)]
            raise ToolFailure("invalid_arguments", "; ".join(problems))
        return await run(arguments, context)

    return guarded


def _described(error: jsonschema_rs.ValidationError) -> str:
    pointer = "".join(f"/{_escaped(str(part))}" for part in error.instance_path)
    text = error.message if len(error.message) <= _MAX_TEXT else error.message[:_MAX_TEXT] + "..."
    return f"{pointer or '/'}: {text}"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _no_retrieval(uri: str) -> NoReturn:
    """jsonschema-rs fetches references over HTTP and from files unless told not to."""
    raise ValueError("a schema may not refer to another document")

"""The checked step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import bad_argument

MAX_QUERY: Final = 4_000  # characters


@dataclass(frozen=True, slots=True)
class JqProgram:
    """A ``jq_transform`` step. Whether it is a valid program is known only where it runs."""

    query: str = field(repr=False)


def jq_transform(arguments: JsonObject) -> JqProgram:
    query = str(arguments["query"])
    if len(query) > MAX_QUERY:
        raise bad_argument(f"a query has at most {MAX_QUERY} characters")
    return JqProgram(query)

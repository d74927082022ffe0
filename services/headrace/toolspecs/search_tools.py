"""``search_tools``: what is there already, before a new pipeline is made. The field names are those of protocol v1.0."""

from __future__ import annotations

from typing import Final

from headrace.toolspecs.spec import Spec

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 50
MAX_QUERY: Final = 500

SEARCH_TOOLS: Final = Spec(
    name="search_tools",
    version="1.0.0",
    description="""\
Search for existing composite tools and workflows by keywords or a description of what is wanted, the best first.
A composite tool is a pipeline that was used before: call it by its name if it is among your tools, or give its pipeline
to execute_pipeline.""",
    parameters={
        "type": "object",
        "required": ["query"],
        "additionalProperties": False,
        "properties": {
            "query": {
                "type": "string",
                "description": "Search query (keywords or description)",
                "maxLength": MAX_QUERY,
            },
            "limit": {
                "type": "integer",
                "description": "Max results to return",
                "default": DEFAULT_LIMIT,
                "minimum": 1,
                "maximum": MAX_LIMIT,
            },
        },
    },
    effect="none",
)

"""``search_tools`` over the toolbox."""

from __future__ import annotations

from typing import Final

from headrace.messages.base import JsonObject
from headrace.toolbox.search import ToolSearch
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.toolspecs import Spec
from headrace.toolspecs.search_tools import DEFAULT_LIMIT, SEARCH_TOOLS

_TIMEOUT_S: Final = 10.0


class SearchTools:
    """Answers within the call's tenant."""

    def __init__(self, search: ToolSearch) -> None:
        self._search = search

    @property
    def spec(self) -> Spec:
        return SEARCH_TOOLS

    @property
    def timeout_s(self) -> float:
        return _TIMEOUT_S

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        """Raises ``ToolFailure`` for a query that asks for nothing, which is not the same as finding nothing."""
        if not arguments["query"].strip():
            raise ToolFailure("invalid_arguments", "/query: keywords or a description, please")
        found = await self._search.find(context.tenant, arguments["query"], int(arguments.get("limit", DEFAULT_LIMIT)))
        return ToolOutput({"count": len(found), "tools": [one.plain() for one in found]})

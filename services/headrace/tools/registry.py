"""The tools of this process by name, each with its behaviour wrapped around it.

From the outside in: allow-list, argument check, approval, intent (of the effect ``once``), timeout, output bound, the tool
itself. So a call that its agent may
not make is refused before its arguments are looked at, nobody is asked about one that can't be made, and time runs only for
the tool.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from headrace.messages.base import JsonObject
from headrace.tools.api import Run, Tool, ToolContext, ToolFailure, ToolOutput
from headrace.tools.intents import Intents
from headrace.tools.wrap.allowed import allowed
from headrace.tools.wrap.approved import approved
from headrace.tools.wrap.bounded import bounded
from headrace.tools.wrap.checked import checked
from headrace.tools.wrap.once import once
from headrace.tools.wrap.timed import timed
from headrace.toolspecs import SPECS, Spec

DEFAULT_MAX_OUTPUT = 1_000_000  # bytes of JSON
_SHOWN = 64


Find = Callable[[str, ToolContext], Awaitable[Run | None]]
"""Looks for a tool that is not registered, for one call: a composite tool of the call's tenant, for example."""


class ToolRegistry:
    """``find`` is asked for what is not among ``tools``. Raises ``ValueError`` when a tool can't be registered: such a service must
    not start.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        *,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT,
        intents: Intents | None = None,
        find: Find | None = None,
    ) -> None:
        self._intents = intents
        self._find = find
        self._specs: dict[str, Spec] = {}
        self._runs: dict[str, Run] = {}
        for tool in tools:
            self._register(tool, max_output_bytes)

    def names(self) -> list[str]:
        return sorted(self._specs)

    def version(self, name: str) -> str | None:
        """The version that would run; None for an unknown tool."""
        spec = self._specs.get(name)
        return spec.version if spec else None

    async def run(self, name: str, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        """One call. Raises ``ToolFailure`` (``unknown_tool``, ``not_allowed``, ``invalid_arguments``, ...) and
        whatever the tool raises.
        """
        run = self._runs.get(name)
        if run is None and self._find is not None:
            run = await self._find(name, context)
        if run is None:
            theirs = ", ".join(sorted(set(context.tools) & self._specs.keys())) or "none"
            raise ToolFailure("unknown_tool", f"there is no tool {name[:_SHOWN]!r}; there are: {theirs}")
        return await run(arguments, context)

    def _register(self, tool: Tool, max_output_bytes: int) -> None:
        spec = tool.spec
        if spec.name in self._specs:
            raise ValueError(f"two tools are called {spec.name}")
        if SPECS.get(spec.name, spec) != spec:
            raise ValueError(f"tool {spec.name} differs from its published spec")
        run = timed(tool.timeout_s, bounded(max_output_bytes, tool.run))
        if spec.effect == "once":
            if self._intents is None:
                raise ValueError(f"tool {spec.name} has the effect 'once', which needs a store of intents")
            run = once(self._intents, run)
        self._specs[spec.name] = spec
        self._runs[spec.name] = allowed(spec.name, checked(spec.parameters, approved(run)))

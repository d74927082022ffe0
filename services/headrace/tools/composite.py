"""Composite tools: a call by name becomes a call of ``execute_pipeline`` with the steps that the name stands for.

Whoever may execute pipelines may call them, within its own allow-list of hosts, and waits for somebody's yes where it would for the
pipeline: a composite tool grants nothing.
"""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.toolbox.composites import Composites, arguments_of, spec_of
from headrace.toolbox.naming import PREFIX
from headrace.tools.api import Run, Tool, ToolContext, ToolFailure, ToolOutput
from headrace.tools.parking import needs_approval
from headrace.tools.wrap.allowed import allowed
from headrace.tools.wrap.approved import approved
from headrace.tools.wrap.bounded import bounded
from headrace.tools.wrap.checked import checked
from headrace.tools.wrap.timed import timed


class CompositeTools:
    """Finds what a registry does not have; ``pipelines`` executes them."""

    def __init__(self, composites: Composites, pipelines: Tool, *, max_output_bytes: int) -> None:
        self._composites = composites
        self._pipelines = pipelines
        self._max_output_bytes = max_output_bytes

    async def find(self, name: str, context: ToolContext) -> Run | None:
        """The tool of that name in the call's tenant; None if it can't be one. Raises ``ToolFailure``
        (``unknown_tool``) for one that was taken back, and ``DependencyUnavailable``.
        """
        if not name.startswith(PREFIX):
            return None
        composite = await self._composites.find(context.tenant, name)
        if composite is None or composite.name != name:
            return None
        if composite.state != "promoted":
            raise ToolFailure("unknown_tool", f"the tool {name[:64]} was taken back: use execute_pipeline")

        async def run(arguments: JsonObject, context: ToolContext) -> ToolOutput:
            return await self._pipelines.run(arguments_of(composite, arguments), context)

        pipelines = self._pipelines.spec.name
        bound = timed(self._pipelines.timeout_s, bounded(self._max_output_bytes, run))
        return allowed(pipelines, checked(spec_of(composite).parameters, _as(pipelines, approved(bound))))


def _as(name: str, run: Run) -> Run:
    """A call that waits for somebody's yes where a call of ``name`` would."""

    async def guarded(arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if context.approval == "none" and context.asked and needs_approval(context.asked.definition, name):
            context = context._replace(approval="required")
        return await run(arguments, context)

    return guarded

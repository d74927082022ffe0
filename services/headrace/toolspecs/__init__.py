"""What tools there are, as data: the name, version, description, parameters and effect of each.

Reasoning shows these to models, the tools service implements them, and neither needs the other. A spec says nothing
about how a tool works. A change of meaning or of parameters is a new version: it is recorded with every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from headrace.toolspecs.delegate_to_agent import DELEGATE_TO_AGENT
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE
from headrace.toolspecs.openapi_action import OPENAPI_ACTION
from headrace.toolspecs.patch_workflow import PATCH_WORKFLOW
from headrace.toolspecs.search_tools import SEARCH_TOOLS
from headrace.toolspecs.spec import Effect, Spec

_OURS: Final = (EXECUTE_PIPELINE, SEARCH_TOOLS, OPENAPI_ACTION, DELEGATE_TO_AGENT, PATCH_WORKFLOW)
SPECS: Final[Mapping[str, Spec]] = MappingProxyType({spec.name: spec for spec in _OURS})


def version(name: str) -> str:
    """The current version of a tool. Raises ``KeyError`` for an unknown one."""
    return SPECS[name].version


__all__ = ["SPECS", "Effect", "Spec", "version"]

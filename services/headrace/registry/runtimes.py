"""What runs an agent, as data: the package that it needs, and what it can't give. The field ``runtime`` of a definition names one.

Whatever the runtime, a run is the same chain of records: a turn of a framework is a turn of the run, and its tool calls leave as
``tool.calls``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from headrace.messages.agent import AgentDefinition


@dataclass(frozen=True, slots=True)
class Runtime:
    """``package`` is the module that it imports and ``extra`` what installs it, "" if nothing is needed. ``lacks``: what a reader
    should know.
    """

    package: str = ""
    extra: str = ""
    lacks: tuple[str, ...] = ()


_WHOLE_TURNS: Final = "a re-run answers a turn as a whole, whatever led to it"

RUNTIMES: Final = MappingProxyType(
    {
        "native": Runtime(),
        "langgraph": Runtime("langgraph", "langgraph", lacks=(_WHOLE_TURNS,)),
        "crewai": Runtime(
            "crewai",
            "crewai",
            lacks=(
                _WHOLE_TURNS,
                "CrewAI words the system prompt around the definition's, and takes what follows 'Final Answer:' for the answer",
                "what is streamed is what the model writes, before CrewAI takes the answer out of it",
                "none of CrewAI's own crews, memory, knowledge, guardrails and delegation",
            ),
        ),
        "autogen": Runtime(
            "autogen_agentchat",
            "autogen",
            lacks=(_WHOLE_TURNS, "none of AutoGen's own teams, memory, handoffs and code executors"),
        ),
        "http": Runtime(
            lacks=(
                _WHOLE_TURNS,
                "model calls are the service's own: budgets and cost go by the usage that it reports",
            )
        ),
    }
)


def problems(definition: AgentDefinition) -> Iterator[tuple[str, str]]:
    """What is wrong with the runtime of ``definition``, by field."""
    if definition.runtime != "http":
        if definition.runtime_url is not None:
            yield "runtime_url", "only the runtime http has one"
        return
    try:
        url = urlsplit(definition.runtime_url or "")
        right = url.scheme in ("http", "https") and bool(url.hostname) and url.username is None and not url.fragment
    except ValueError:
        right = False
    if not right:
        yield "runtime_url", "the runtime http needs a URL, http or https, without user and fragment"

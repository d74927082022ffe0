"""CrewAI without what it does beside its work: it reports to its makers, traces runs to their service, prints, and keeps keys,
settings and databases in the home folder, some of it while it is imported. A reasoner has no home to write to, and a conversation
is nobody else's.

Its switches are set before it is imported, and two of its modules get a stand-in: who listens to its events in order to print,
trace and report them, and where it stores. Import CrewAI from here alone.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_OFF: Final = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_DISABLE_TRACKING": "true", "CREWAI_TRACING_ENABLED": "false"}
_NOWHERE: Final = os.path.join(os.devnull, "crewai")  # nothing can be made below it


class _Deaf:
    """A listener that registers for nothing."""


_STAND_INS: Final[dict[str, dict[str, Any]]] = {
    "crewai.events.event_listener": {"EventListener": _Deaf, "event_listener": _Deaf()},
    "crewai.utilities.paths": {
        "db_storage_path": lambda: _NOWHERE,
        "get_project_directory_name": lambda: "headrace",
    },
}


def _quiet_crewai() -> ModuleType:
    os.environ |= _OFF
    for name, contents in _STAND_INS.items():
        stand_in = sys.modules[name] = ModuleType(name)
        vars(stand_in).update(contents)
    crewai = import_module("crewai")
    printer = import_module("crewai.utilities.printer")
    printer.Printer.print = staticmethod(lambda *_, **__: None)  # errors that it prints may quote the conversation
    return crewai


_crewai = _quiet_crewai()
Agent: Final[Any] = _crewai.Agent
BaseLLM: Final[Any] = _crewai.BaseLLM

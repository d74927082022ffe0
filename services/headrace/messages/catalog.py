"""Which message travels on which topic. The one table that codec, contracts, pipeline and docs look things up in."""

from __future__ import annotations

from typing import Final

from headrace.messages.agent import AgentRecord
from headrace.messages.audit import AuditEvent
from headrace.messages.base import Message
from headrace.messages.budget import BudgetChange
from headrace.messages.event import Event, RawDelivery
from headrace.messages.job import Job
from headrace.messages.replay import ReplayAction
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.messages.tokens import RunTokens
from headrace.messages.usage import UsageWindow
from headrace.messages.wait import RunWait, WaitCompletion
from headrace.messages.workflow import WorkflowSignal

MESSAGES: Final[tuple[type[Message], ...]] = (
    RawDelivery,
    Event,
    Job,
    ToolCalls,
    ToolResults,
    RunWait,
    WaitCompletion,
    AgentResult,
    AgentRecord,
    AuditEvent,
    UsageWindow,
    RunTokens,
    BudgetChange,
    WorkflowSignal,
    ReplayAction,
)
BY_TOPIC: Final[dict[str, type[Message]]] = {message.TOPIC: message for message in MESSAGES}
SHADOWS: Final[dict[str, type[Message]]] = {  # what a shadow replay writes instead of the live topics
    "shadow.jobs": Job,
    "shadow.calls": ToolCalls,
    "shadow.toolresults": ToolResults,
    "shadow.results": AgentResult,
}


def message_on(topic: str) -> type[Message] | None:
    """The message that travels on ``topic``; None where it carries anything (dead letters), and for a strange topic."""
    return BY_TOPIC.get(topic) or SHADOWS.get(topic)

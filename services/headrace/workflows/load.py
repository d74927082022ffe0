"""From a plain value to a checked definition: all problems at once, each with its place."""

from __future__ import annotations

from typing import Any

from headrace.messages.errors import BadMessage
from headrace.registry.load import Problem
from headrace.workflows.check import Known, check, check_shape
from headrace.workflows.definition import WorkflowDefinition


class InvalidWorkflow(BadMessage):
    """A definition that can't be stored; ``problems`` has all the reasons."""

    cause = "workflow_definition"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_value(value: Any, known: Known) -> WorkflowDefinition:
    """The definition that plain JSON is. Raises ``InvalidWorkflow``."""
    if wrong := check_shape(value):
        raise InvalidWorkflow(tuple(wrong))
    definition = WorkflowDefinition.checked(value)
    if wrong := check(definition, known):
        raise InvalidWorkflow(tuple(wrong))
    return definition

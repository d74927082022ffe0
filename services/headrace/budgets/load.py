"""Budgets from YAML or JSON files, with all problems of a file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headrace.budgets.rules import problems
from headrace.messages.budget import Budget
from headrace.messages.errors import BadMessage
from headrace.registry.yaml12 import Document, YamlProblem


class InvalidBudgets(BadMessage):
    """A file that can't be used; its text has all the reasons, with their places."""

    cause = "budgets"


def load_file(path: Path) -> list[Budget]:
    """The budgets of a file: one, or a list. Raises ``InvalidBudgets`` or ``OSError``."""
    try:
        document = Document(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InvalidBudgets(f"{path}: not UTF-8") from None
    except YamlProblem as problem:
        raise InvalidBudgets(f"{path}:{problem.line}: {problem}") from None
    single = not isinstance(document.value, list)
    values = [document.value] if single else document.value
    budgets: list[Budget] = []
    found: list[str] = []
    for index, value in enumerate(values):
        budget, wrong = _parsed(value)
        place = f"{path}:{document.line(() if single else (index,))}"
        found += [f"{place}: {text}" for text in wrong]
        budgets += [budget] if budget else []
    names = [budget.name for budget in budgets]
    found += [f"{path}: two budgets are called {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    if found:
        raise InvalidBudgets("\n".join(found))
    return budgets


def _parsed(value: Any) -> tuple[Budget | None, list[str]]:
    if not isinstance(value, dict):
        return None, ["a budget is a mapping of fields"]
    if unknown := [str(name)[:64] for name in value if name not in Budget.__struct_fields__]:
        return None, [f"/{name}: unknown field" for name in unknown]
    try:
        budget = Budget.checked(value)
    except msgspec.ValidationError as error:
        return None, [str(error)[:300]]
    return budget, problems(budget)

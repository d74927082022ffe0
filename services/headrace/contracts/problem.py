"""What a check of contracts or topics finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """``where`` is a file or a place in a schema (``agent.jobs /properties/prompt``), ``what`` a sentence that says what to do."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

"""What newer models must be told so that they answer without reasoning that a conversation here can't carry.

A run's transcript holds texts, tool calls and tool results. Models that think by default return signed reasoning blocks that they
want back on the next turn, spend ``max_tokens`` on them, or (OpenAI chat completions) refuse tools while reasoning. So ``auto``
turns it off where the provider documents a way; the first pattern that matches decides, and no match sends nothing.
Sources: the providers' migration guides for Claude 5.x and GPT-5.4 to GPT-6.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_THINKING = (
    ("claude-sonnet-5-5*", "between_tools"),  # refuses "disabled"
    ("claude-haiku-5-5*", "disabled"),
    ("claude-sonnet-5", "disabled"),
)
_REASONING_EFFORT = (
    ("gpt-5.4*", "none"),
    ("gpt-5.5*", "none"),
    ("gpt-5.6*", "none"),
    ("gpt-6-luna*", "none"),
    ("gpt-6-sol*", "none"),
    ("gpt-6.1-terra*", "none"),
)


def thinking(setting: str, model: str) -> dict[str, str] | None:
    """The Anthropic ``thinking`` parameter, or None to leave it out."""
    kind = _first(_THINKING, model) if setting == "auto" else setting
    return None if kind in (None, "omit") else {"type": str(kind)}


def reasoning_effort(setting: str, model: str) -> str | None:
    """The OpenAI ``reasoning_effort`` parameter, or None to leave it out."""
    effort = _first(_REASONING_EFFORT, model) if setting == "auto" else setting
    return None if effort == "omit" else effort


def _first(rules: tuple[tuple[str, str], ...], model: str) -> str | None:
    return next((value for pattern, value in rules if fnmatchcase(model, pattern)), None)

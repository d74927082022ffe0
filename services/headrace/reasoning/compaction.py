"""Bounding a session's conversation, by rule: the newest turns word for word, the older ones shortened into one entry.

No model is asked: the same conversation always becomes the same, costs nothing and can't fail, so a re-run of a run's records needs
nothing that is not in them. What is lost is what a shortened answer no longer says; its data are still at their references.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import orjson

from headrace.messages.run import Entry
from headrace.reasoning.prompt import section, task_of
from headrace.reasoning.transcript import cut_to

_HEAD: Final = "Earlier turns of this session, oldest first, shortened by rule:"
_SUMMARY: Final = re.compile(rf"{re.escape(_HEAD)}\n\n<earlier_turns>\n(.*)\n</earlier_turns>", re.DOTALL)
_NOTED: Final = Entry(role="assistant", content="(noted)")
_ASKED: Final = 200  # characters of a shortened question
_ANSWERED: Final = 400

Shortened = list[dict[str, str]]


def size_of(entries: Sequence[Entry]) -> int:
    """Characters of ``entries``, whose content is inline."""
    return sum(len(entry.content or "") for entry in entries)


def compacted(entries: Sequence[Entry], max_chars: int) -> tuple[Entry, ...]:
    """``entries`` (questions and answers in turn, content inline) in about ``max_chars`` at most.

    Half of it is for the newest turns as they are, at least the very last, a quarter for the older ones; the oldest go first.
    """
    pairs = [(entries[at], entries[at + 1]) for at in range(0, len(entries), 2)]
    kept: list[tuple[Entry, Entry]] = []
    room = max_chars // 2
    while pairs and (not kept or size_of(pairs[-1]) <= room):
        kept.insert(0, pairs.pop())
        room -= size_of(kept[0])
    older = [short for pair in pairs for short in _shortened(*pair)]
    while older and len(orjson.dumps(older)) > max_chars // 4:
        del older[0]
    newest = [entry for pair in kept for entry in pair]
    if not older:
        return tuple(newest)
    return (Entry(role="user", content=f"{_HEAD}\n\n{section('earlier_turns', older)}"), _NOTED, *newest)


def _shortened(asked: Entry, answered: Entry) -> Shortened:
    """One turn, or those that were shortened before."""
    if before := _SUMMARY.fullmatch(asked.content or ""):
        turns: Shortened = orjson.loads(before[1])
        return turns
    task = task_of(asked.content or "")
    return [{"asked": cut_to(task, _ASKED), "answered": cut_to(answered.content or "", _ANSWERED)}]

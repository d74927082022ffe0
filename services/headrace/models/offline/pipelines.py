"""Prompts like "fetch rows from URL, sort by price, show top 3", by a small grammar, to a pipeline; and its rows to text. In a
session "now those under $500" goes on with the rows of the turn before.

What the grammar does not know it leaves out: this is a stand-in to see the tool loop work, not an understanding of language.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from headrace.models.offline.facts import REMARK, quote

TOOL: Final = "execute_pipeline"
_MAX_PROMPT: Final = 4_000
_SHOWN: Final = 10
_URL: Final = re.compile(
    r"https?://[^\s,;\"'<>]+|(?<=\bfrom )[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?(?:/[^\s,;\"'<>]*)?", re.I
)
_SORT: Final = re.compile(r"\b(?:sort|order)(?:ed)? by ([\w.]{1,64})(?: (asc|desc)\w*)?", re.I)
_EXTREME: Final = re.compile(r"\b(cheapest|lowest|highest|largest|most expensive)\b", re.I)
_TOP: Final = re.compile(
    r"\b(?:top|first|show|cheapest|lowest|highest|largest|limit)(?: (?:me|the|only|to))* (\d{1,6})\b", re.I
)
_FILTER: Final = re.compile(
    r"\b(?:where|with) ([\w.]{1,64}) (?:is )?(<=|>=|!=|==|=|<|>|below|under|less than|above|over|more than|equals) ?"
    r"('[^']{0,200}'|\"[^\"]{0,200}\"|[\w.-]{1,64})",
    re.I,
)
_PRICED: Final = re.compile(r"\b(below|under|less than|above|over|more than) \$(\d{1,9}(?:\.\d{1,2})?)\b", re.I)
_SELECT: Final = re.compile(r"\b(?:select|keep|columns|fields) ([\w.]{1,64}(?:(?:, | and )[\w.]{1,64}){0,9})", re.I)
_GROUP: Final = re.compile(
    r"\b(count|sum|avg|average|min|max)(?: of)?(?: ([\w.]{1,64}))? (?:per|by) ([\w.]{1,64})", re.I
)
_OPERATORS: Final = {
    "=": "==",
    "equals": "==",
    "below": "<",
    "under": "<",
    "less than": "<",
    "above": ">",
    "over": ">",
    "more than": ">",
}
_DESCENDING: Final = frozenset({"highest", "largest", "most expensive"})


def parse(prompt: str) -> list[dict[str, Any]] | None:
    """The pipeline that ``prompt`` asks for, its fetch first; None if it names no URL."""
    text = prompt[:_MAX_PROMPT]
    url = _URL.search(text)
    if not url:
        return None
    fetch = {"step": "http_request", "url": url[0].rstrip(".)?!"), "method": "GET"}
    return [fetch, *steps(text[: url.start()] + text[url.end() :])]


def steps(prompt: str) -> list[dict[str, Any]]:
    """What ``prompt`` asks to be done with rows that are there."""
    text = prompt[:_MAX_PROMPT]
    asked = [_filter(match) for match in _FILTER.finditer(text)]
    asked += [_where("price", match[1].lower(), match[2]) for match in _PRICED.finditer(_FILTER.sub(" ", text))]
    asked += [_group(match) for match in _GROUP.finditer(text)][:1]
    asked += _sort(text)
    asked += [{"step": "top_k", "k": int(match[1])} for match in _TOP.finditer(text) if int(match[1])][:1]
    asked += [{"step": "table_select", "fields": re.split(", | and ", m[1])} for m in _SELECT.finditer(text)][:1]
    return asked


def describe(content: str | None, *, is_error: bool) -> str:
    """The tool's answer in words: its rows (the first of them), or its error as given."""
    if is_error:
        return f"{REMARK}The pipeline failed: {quote(content or 'no reason given', 600)}"
    rows = _rows(content)
    if rows is None:
        return f"{REMARK}The pipeline gave: {quote(content or 'nothing', 2_000)}"
    lines = [f"{number}. {quote(orjson.dumps(row).decode(), 400)}" for number, row in enumerate(rows[:_SHOWN], start=1)]
    more = f"\n… and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{REMARK}{len(rows)} row{'s' if len(rows) != 1 else ''}:\n" + "\n".join(lines) + more


def _rows(content: str | None) -> list[Any] | None:
    """Rows of a JSON list, or of the one list in a JSON object."""
    try:
        value = orjson.loads(content or "")
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else None
    return value if isinstance(value, list) else None


def _sort(text: str) -> list[dict[str, Any]]:
    extreme = _EXTREME.search(text)
    match = _SORT.search(text)
    if not match:
        return [{"step": "table_sort", "field": "price", "order": _order(extreme)}] if extreme else []
    order = (match[2] or "").lower() or _order(extreme)
    return [{"step": "table_sort", "field": match[1].rstrip("."), "order": order}]


def _order(extreme: re.Match[str] | None) -> str:
    return "desc" if extreme and extreme[1].lower() in _DESCENDING else "asc"


def _filter(match: re.Match[str]) -> dict[str, Any]:
    return _where(match[1], match[2].lower(), match[3])


def _where(field: str, word: str, value: str) -> dict[str, Any]:
    condition = {"field": field, "op": _OPERATORS.get(word, word), "value": _literal(value)}
    return {"step": "table_filter", "condition": condition}


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _group(match: re.Match[str]) -> dict[str, Any]:
    agg = {"average": "avg"}.get(match[1].lower(), match[1].lower())
    field = {"field": match[2]} if match[2] and agg != "count" else {}
    return {"step": "groupby", "by": [match[3]], "agg": agg, **field}

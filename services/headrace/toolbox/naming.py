"""What a composite tool is called and said to do.

The text is offered to other agents as a tool's description, so none of it is free text of a model, which an attacker
may have dictated: only the verbs of this file, and of the pipeline plain identifiers, hosts and numbers. Conditions'
texts, queries, patterns, paths and parameters are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from headrace.messages.base import JsonObject

PREFIX: Final = "composite_"
_HEX: Final = 12  # characters of the digest in a name
_MAX_NAME: Final = 64  # what model providers take
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,29}(?:\.[A-Za-z0-9_]{1,30}){0,2}")
_HOST: Final = re.compile(r"[a-z0-9-]{1,40}(?:\.[a-z0-9-]{1,40}){0,5}")
_MAX_WORDS: Final = 8
_SHORT: Final = {
    "http_request": "fetch",
    "table_sort": "sort",
    "table_filter": "filter",
    "table_select": "select",
    "top_k": "top",
    "groupby": "group",
    "join": "join",
    "jq_transform": "jq",
    "regex_extract": "extract",
    "parse_date": "date",
}


def name_of(pipeline: Sequence[JsonObject], digest: bytes) -> str:
    """Such as ``composite_fetch_sort_top_1f0c9a2b7d3e``: one pipeline, one name."""
    end = f"_{digest.hex()[:_HEX]}"
    verbs = "_".join(_SHORT.get(str(step.get("step")), "step") for step in pipeline)
    return PREFIX + verbs[: _MAX_NAME - len(PREFIX) - len(end)].rstrip("_") + end


def describe(pipeline: Sequence[JsonObject]) -> str:
    """One line, such as ``Fetch from api.flights.com; sort by price ascending; take the first 3 rows.``"""
    text = "; ".join(_PHRASES[str(step["step"])](step) for step in pipeline if step.get("step") in _PHRASES)
    return text[:1].upper() + text[1:] + "."


def _fetch(step: JsonObject) -> str:
    return f"fetch from {host_of(str(step.get('url', ''))) or 'a server'}"


def _sort(step: JsonObject) -> str:
    return f"sort by {_field(step)} {'descending' if step.get('order') == 'desc' else 'ascending'}"


def _filter(step: JsonObject) -> str:
    condition = step.get("condition")
    if isinstance(condition, dict) and {"field", "op", "value"} <= condition.keys():
        value, op = condition["value"], condition["op"]
        if type(value) in (int, float) and op in ("==", "!=", "<", "<=", ">", ">="):
            return f"keep rows with {_word(condition['field'])} {op} {value}"
        return f"keep rows by {_word(condition['field'])}"
    return "keep rows by a condition"


def _select(step: JsonObject) -> str:
    return f"keep the fields {_words(step.get('fields'))}"


def _top(step: JsonObject) -> str:
    return f"take the first {step['k']} rows" if isinstance(step.get("k"), int) else "take the first rows"


def _group(step: JsonObject) -> str:
    what = f" of {_field(step)}" if "field" in step else ""
    verb = step.get("agg") if step.get("agg") in ("count", "sum", "avg", "min", "max") else "aggregate"
    return f"{verb}{what} by {_words(step.get('by'))}"


def _join(step: JsonObject) -> str:
    return f"join on {_word(step.get('on'))}"


def _jq(step: JsonObject) -> str:
    return "transform with a jq program"


def _extract(step: JsonObject) -> str:
    return f"extract a pattern from {_field(step)}"


def _date(step: JsonObject) -> str:
    return f"read {_field(step)} as a date"


_PHRASES: Final[dict[str, Callable[[JsonObject], str]]] = {
    "http_request": _fetch,
    "table_sort": _sort,
    "table_filter": _filter,
    "table_select": _select,
    "top_k": _top,
    "groupby": _group,
    "join": _join,
    "jq_transform": _jq,
    "regex_extract": _extract,
    "parse_date": _date,
}


def host_of(url: str) -> str | None:
    """The host of a step's URL, lower case, if it is a plain one."""
    try:
        host = urlsplit(url if "://" in url else f"https://{url}").hostname or ""
    except ValueError:
        return None
    return host if _HOST.fullmatch(host) else None


def _field(step: JsonObject) -> str:
    return _word(step.get("field"))


def _words(names: Any) -> str:
    if not isinstance(names, list) or not names:
        return "nothing"
    more = f" and {len(names) - _MAX_WORDS} more" if len(names) > _MAX_WORDS else ""
    return ", ".join(_word(name) for name in names[:_MAX_WORDS]) + more


def _word(name: Any) -> str:
    return name if isinstance(name, str) and _WORD.fullmatch(name) else "a field"

"""JSON logs, one object a line, with the keys timestamp, level, event, and where they apply agent_type, user_id, run_id; inside of
a span also trace_id and span_id.

Secrets are kept out in two ways: code never passes them, and ``redact`` masks what still looks like one, by key or by shape.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger

from headrace.observe import tracing

_SECRET_KEY = re.compile(
    r"((secret|token|password|passwd|authorization|api[_-]?key|cookie|signature|credential|private[_-]?key)s?$|signature|secret[_-])",
    re.I,
)
_SECRET_TEXT = re.compile(
    r"((?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|xox[abprs]-[A-Za-z0-9-]{8,}|AKIA[0-9A-Z]{12,}"
    r"|\b[sr]k_(?:live|test)_\w{8,}|whsec_[A-Za-z0-9+/=]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+|\bsha(?:1|256)=[0-9a-f]{40,64}"
    r"|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|(?<=://)[^\s/:@]*:[^\s/@]+(?=@))"
)
_ASSIGNED = re.compile(  # in a query, a connection string, a setting
    r"(?i)\b((?:password|passwd|secret|api[_-]?key|(?:access_)?token)=)[^\s&;,'\"]+"
)
MASK = "[redacted]"
_REMEMBERED = 200  # characters
_MARKS = (
    "sk-",
    "gh",
    "github_pat_",
    "xox",
    "AKIA",
    "k_",
    "whsec_",
    "eyJ",
    "sha",
    "://",
    "=",
    " ",
)  # each pattern above needs one, or white space


def get_logger(name: str) -> FilteringBoundLogger:
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def redact_text(text: str) -> str:
    """``text`` with everything that looks like a credential masked."""
    if text.isprintable() and not any([mark in text for mark in _MARKS]):  # noqa: C419 - a list is twice as quick
        return text
    return _masked_again(text) if len(text) <= _REMEMBERED else _masked(text)


def _masked(text: str) -> str:
    return _ASSIGNED.sub(rf"\1{MASK}", _SECRET_TEXT.sub(MASK, text))


_masked_again = lru_cache(2_048)(_masked)  # names of events, agents, models, services: the same ones in line after line


@lru_cache(2_048)
def _names_a_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: mask values by key name, and credentials inside any text (also nested)."""
    for key, value in event.items():
        if not key.startswith("_"):  # structlog's own, gone before the line is written
            event[key] = _redact_entry(key, value)
    return event


def _redact_entry(key: str, value: Any) -> Any:
    """A number below such a key is a count (of tokens, say), and no secret."""
    harmless = value is None or isinstance(value, bool | int | float)
    return MASK if not harmless and _names_a_secret(key) else _redact_value(value)


def _redact_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {str(key): _redact_entry(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item) for item in value]
    return redact_text(repr(value))  # as the renderer would show it: an exception, bytes, an object


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate in a text, or an integer past 64 bits
        return json.dumps(event, default=repr)


def configure(level: str = "info", *, service: str | None = None) -> None:
    """Send all logs of this process, the standard library's too, to stderr as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        tracing.add_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(  # straight to stderr: the way over the standard library takes three times as long
        processors=[*shared, _render],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx2", "httpcore2", "aiokafka", "uvicorn.access", "openai", "anthropic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if service:
        structlog.contextvars.bind_contextvars(service=service)

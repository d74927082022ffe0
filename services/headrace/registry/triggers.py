"""Which events make a job: shell-style patterns on source and type, then a JMESPath filter over the canonical event.

Matching never fails: an expression that cannot be evaluated on some event (a function given the wrong type, say) counts as no
match, is logged and counted, and holds up neither the event nor the other agents.
"""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from headrace.messages.agent import Trigger
from headrace.messages.event import Event
from headrace.observe.logging import get_logger
from headrace.observe.metrics import TRIGGER_ERRORS

log = get_logger(__name__)


class InvalidFilter(ValueError):
    """Not a JMESPath expression."""


def match(event: Event, trigger: Trigger, *, agent: str = "") -> bool:
    """Whether ``event`` fires ``trigger``. ``agent`` names the trigger's owner in the log."""
    if not (_like(event.type, trigger.type) and _like(event.source, trigger.source)):
        return False
    return trigger.filter is None or _passes(event, trigger.filter, agent)


@lru_cache(maxsize=8_192)  # each event asks every trigger, and types and sources come again and again
def _like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern)


@lru_cache(maxsize=1024)
def compile_filter(expression: str) -> ParsedResult:
    """The compiled form of ``expression``, whose length ``Trigger`` bounds.

    Raises:
        InvalidFilter: with the parser's reason on one line. ``!a.b`` is refused too: JMESPath reads it as ``(!a).b``, which is null
            on every event.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PendingDeprecationWarning)  # `main` for `"main"`: not JMESPath, but accepted
            compiled = jmespath.compile(expression)
        useless = _reads_from_negation(compiled.parsed)
    except JMESPathError as error:
        raise InvalidFilter(str(error).splitlines()[0]) from None
    except PendingDeprecationWarning:
        raise InvalidFilter("what is between backticks must be JSON; text goes between single quotes") from None
    except RecursionError:
        raise InvalidFilter("nested too deeply") from None
    if useless:
        raise InvalidFilter("'!' binds tighter than '.': write !(a.b) for !a.b")
    return compiled


def _reads_from_negation(node: Any) -> bool:
    """Whether some part of the syntax tree looks into the true or false of a negation."""
    children = [child for child in node["children"] if isinstance(child, dict)]
    looks_into = node["type"] in ("subexpression", "index_expression")
    if looks_into and children[0]["type"] == "not_expression":
        return True
    return any(_reads_from_negation(child) for child in children)


def _passes(event: Event, expression: str, agent: str) -> bool:
    try:
        return _truthy(compile_filter(expression).search(_view(event)))
    except (JMESPathError, InvalidFilter, RecursionError, ArithmeticError, TypeError, ValueError) as error:
        TRIGGER_ERRORS.inc()
        log.warning("trigger_filter_failed", agent_type=agent, event_uid=event.uid, error=type(error).__name__)
        return False


def _view(event: Event) -> dict[str, Any]:
    """The event as an expression sees it: the fields of the message. ``data`` is shared, not copied."""
    view = msgspec.structs.asdict(event)
    view["origin"] = msgspec.structs.asdict(event.origin)
    return view


def _truthy(value: Any) -> bool:
    """JMESPath's rule: null, false and empty strings, lists and objects are false. Zero is true."""
    return not (value is None or value is False or value in ("", [], {}))

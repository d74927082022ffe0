"""What rules may do to a text on its way into an event. Each takes text that is not empty and gives text, or None to refuse it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_EVENT: Final = re.compile(r"[a-z0-9_]{1,64}")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_WEB: Final = re.compile(r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)(/[A-Za-z0-9._/-]*)?")
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?=[/?#]|$)")


def name(text: str) -> str | None:
    """As it is, if it can be part of a type: letters, digits, ``_ . -``."""
    return text if _NAME.fullmatch(text) else None


def event(text: str) -> str | None:
    """As it is, if it can name an event in a path of the rules: lower case letters, digits, ``_``."""
    return text if _EVENT.fullmatch(text) else None


def slug(text: str) -> str | None:
    """Words in lower case, joined by ``_``: ``MergeRequest`` -> ``merge_request``, ``No Data`` -> ``no_data``."""
    return _NO_WORD.sub("_", _HUMP.sub("_", text[:200]).lower()).strip("_")[:100] or None


def tail(text: str) -> str | None:
    """What is behind the last colon: ``zen:event-type:ticket.created`` -> ``ticket.created``."""
    return name(text.rpartition(":")[2])


def dots(text: str) -> str | None:
    """Colons and slashes as dots: ``repo:push`` -> ``repo.push``, ``orders/create`` -> ``orders.create``."""
    return name(text.replace(":", ".").replace("/", "."))


def web(text: str) -> str | None:
    """As it is, if it is a plain web address: no credentials, no query, no fragment."""
    return text if _WEB.fullmatch(text) else None


def origin(text: str) -> str | None:
    """Scheme, host and port of a web address."""
    match = _ORIGIN.match(text)
    return match[0] if match else None


def bare(text: str) -> str | None:
    """A web address without its query and fragment."""
    return web(re.split(r"[?#]", text, maxsplit=1)[0])


TRANSFORMS: Final[dict[str, Callable[[str], str | None]]] = {
    "name": name,
    "event": event,
    "slug": slug,
    "tail": tail,
    "dots": dots,
    "web": web,
    "origin": origin,
    "bare": bare,
}

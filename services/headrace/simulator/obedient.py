"""The worst model there is: it does whatever the newest text asks for, whoever wrote it. For tests of what a mesh lets it do.

What it takes for an order is ``!call(NAME,ARGUMENTS)``, with the arguments' JSON in base64url, so that an order survives
whatever quoting its text goes through on the way to the model.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import orjson

from headrace.simulator.conversation import Conversation

_ORDER: Final = re.compile(r"!call\(([\w.:-]{1,200}),([\w=-]*)\)")


def order(name: str, arguments: Any) -> str:
    """Text that makes this model ask for a tool call."""
    return f"!call({name},{base64.urlsafe_b64encode(orjson.dumps(arguments)).decode()})"


def orders(conversation: Conversation) -> list[tuple[str, dict[str, Any]]]:
    """The calls that the newest text asks for: tool results if there are any since the last turn, else the user's message."""
    text = conversation.last_tool or conversation.last_user
    return [(name, _arguments(data)) for name, data in _ORDER.findall(text)]


def _arguments(data: str) -> dict[str, Any]:
    value = orjson.loads(base64.urlsafe_b64decode(data))
    return value if isinstance(value, dict) else {"value": value}

"""A shop's tickets for the demonstration of a replay: two versions of an agent, the tickets, and a simulated model that goes by its
prompt.

    what it is about            1.0.0           2.0.0
    where the parcel is         self_service    self_service
    a question                  self_service    self_service
    a refund of $40             support         self_service     small refunds are paid without asking
    a refund of $900            support         finance          large ones need somebody who may
    the checkout is down        support         on_call
    any of these, on trial      no run: its filter lets trials pass by; that of 2.0.0 does not
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

AGENT: Final = "ticket-triager"
LIVE: Final = "1.0.0"
CANDIDATE: Final = "2.0.0"
_KINDS: Final = (  # of twenty tickets
    *(["Where is my parcel?"] * 7),
    *(["How do I change my address?"] * 5),
    *(["A refund of $40, please"] * 4),
    *(["A refund of $900, please"] * 2),
    *(["The checkout is down"] * 2),
)
_TRIAL_EVERY: Final = 9


def tickets(count: int) -> Iterator[dict[str, Any]]:
    """So many, always the same ones; the payload of each, which has its number."""
    for number in range(count):
        yield {
            "number": number,
            "title": _KINDS[(number * 7) % len(_KINDS)],
            "customer": f"customer-{number % 211}",
            "plan": "trial" if number % _TRIAL_EVERY == 0 else "paid",
        }


def is_live(ticket: dict[str, Any]) -> bool:
    """Whether version 1.0.0 looks at it."""
    return bool(ticket["plan"] != "trial")


def definition_text(version: str) -> str:
    """The file of a version of the agent."""
    return resources.files(__package__).joinpath(f"{AGENT}-{version}.yaml").read_text(encoding="utf-8")


def model_text() -> str:
    """The script of the simulated model: what it answers to which prompt and ticket."""
    return resources.files(__package__).joinpath("model.yaml").read_text(encoding="utf-8")

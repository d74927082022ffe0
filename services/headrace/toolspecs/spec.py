"""The shape of a tool's description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Effect = Literal["none", "idempotent", "once"]


class BadToolFile(ValueError):
    """A file of the operator that describes tools is not usable; the text says why."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A tool as models and records see it.

    ``parameters`` is a JSON Schema object. ``effect``: ``none`` changes nothing outside, ``idempotent`` may be
    repeated with the same idempotency key, ``once`` must not run twice.
    """

    name: str
    version: str
    description: str
    parameters: dict[str, Any]
    effect: Effect

"""What an evaluator may say. A definition is data: it is kept in the plan of a replay.

Expressions see one run at a time, as ``{event, output, error, run, live}``: the canonical event, the answer (null after an error),
the type of the error (null after an answer), ``run`` with ``cost_usd``, ``latency_ms``, ``steps`` and ``tokens``, the live answer.

An evaluator that compares takes what is expected from ``expected`` (a value), ``expected_from`` (an expression), or else from what
its ``value`` is in the live answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta

MAX_EVALUATORS: Final = 50
Expression = Annotated[str, Meta(min_length=1, max_length=2_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Tolerance = Annotated[float, Meta(ge=0, le=1e12)]
Source = Literal["expected", "expected_from", "live"]


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", omit_defaults=True):
    """``when``: only where this expression is true. ``at_least``: the share of the candidate's runs that has to pass."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
    description: Annotated[str, Meta(max_length=400)] = ""
    when: Expression | None = None
    at_least: Share | None = None

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def expressions(self) -> dict[str, str | None]:
        """All its expressions by field."""
        return {"when": self.when}

    @property
    def compares_with_live(self) -> bool:
        """Whether live answers are its measure, so that it can't measure them."""
        return False


class Valued(Base, frozen=True, kw_only=True):
    """``value``: what of the run is looked at."""

    value: Expression = "output"

    @property
    def expressions(self) -> dict[str, str | None]:
        return {"when": self.when, "value": self.value}


class Comparing(Valued, frozen=True, kw_only=True):
    """At most one of ``expected`` and ``expected_from``."""

    expected: Any = UNSET
    expected_from: Expression | None = None

    def __post_init__(self) -> None:
        if self.expected is not UNSET and self.expected_from is not None:
            raise ValueError("either expected or expected_from")

    @property
    def source(self) -> Source:
        if self.expected is not UNSET:
            return "expected"
        return "expected_from" if self.expected_from is not None else "live"

    @property
    def expressions(self) -> dict[str, str | None]:
        return {"when": self.when, "value": self.value, "expected_from": self.expected_from}

    @property
    def compares_with_live(self) -> bool:
        return self.source == "live"


class Exact(Comparing, frozen=True, kw_only=True, tag="exact"):
    """The very same JSON value; 1 and 1.0 are two."""


class Numeric(Comparing, frozen=True, kw_only=True, tag="numeric"):
    """A number no further from the expected one than ``tolerance``, or than ``relative`` times that."""

    tolerance: Tolerance = 0.0
    relative: Tolerance = 0.0


class Expressed(Base, frozen=True, kw_only=True, tag="jmespath"):
    """``check`` is true, by the rule of a trigger's filter."""

    check: Expression

    @property
    def expressions(self) -> dict[str, str | None]:
        return {"when": self.when, "check": self.check}


class Pattern(Valued, frozen=True, kw_only=True, tag="regex"):
    """``pattern`` is found in the text (of what is no text, in its JSON); with ``absent`` it is not."""

    pattern: Annotated[str, Meta(min_length=1, max_length=1_000)]
    absent: bool = False


class Schema(Valued, frozen=True, kw_only=True, tag="schema"):
    """The value is valid under ``schema``."""

    schema: dict[str, Any]


class Judge(Base, frozen=True, kw_only=True, tag="judge"):
    """``model`` finds that by ``question`` the answer is no worse than the live one."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    question: Annotated[str, Meta(min_length=1, max_length=4_000)]

    @property
    def compares_with_live(self) -> bool:
        return True


Evaluator = Exact | Numeric | Expressed | Pattern | Schema | Judge

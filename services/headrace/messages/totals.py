"""What a set of finished runs adds up to: counts, tokens, cost and latency. Pure, and a commutative monoid.

Totals of disjoint sets of runs add up to the totals of all of them, in any order and any grouping: everything is an integer sum or
a maximum (cost is kept in billionths of a US dollar, since sums of floats depend on their order). So partitions are counted apart
and merged, and minutes are merged into days, without a rounding step in between.

Latency is a histogram of geometric buckets (as DDSketch has them): bucket ``i`` holds the milliseconds in
``(GAMMA ** (i - 1), GAMMA ** i]``, bucket 0 those of 0 and 1. A percentile read from it is within ``ACCURACY`` of the true value of
that rank, whatever was merged. Seven days in milliseconds are bucket 507, so the histogram is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

ACCURACY: Final = 0.02
GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
NANO: Final = 1_000_000_000
_LOG_GAMMA: Final = math.log(GAMMA)
_LONGEST_MS: Final = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run, as far as it counts. A negative count or time is none."""

    failed: bool
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What is added up for a whole window, and again for each model in it."""

    runs: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0  # billionths of a US dollar

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.runs + other.runs,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nano + other.cost_nano,
        )

    @property
    def cost_usd(self) -> float:
        return self.cost_nano / NANO

    def to_json(self) -> list[int]:
        return [self.runs, self.failed, self.input_tokens, self.output_tokens, self.cost_nano]


@dataclass(frozen=True, slots=True)
class Totals:
    """``latency`` maps bucket to count; runs whose duration is not known are in ``sums`` alone."""

    sums: Sums = Sums()
    models: Mapping[str, Sums] = field(default_factory=dict)
    latency: Mapping[int, int] = field(default_factory=dict)
    latency_sum_ms: int = 0
    latency_max_ms: int = 0

    @classmethod
    def of(cls, run: Run) -> Self:
        """The totals of one run."""
        sums = Sums(
            1,
            int(run.failed),
            max(0, run.input_tokens),
            max(0, run.output_tokens),
            _nano(run.cost_usd),
        )
        models = {run.model: sums} if run.model else {}
        if run.duration_ms is None or run.duration_ms < 0:
            return cls(sums, models)
        duration = min(run.duration_ms, _LONGEST_MS)
        return cls(sums, models, {bucket(duration): 1}, duration, duration)

    def __add__(self, other: Totals) -> Totals:
        models = dict(self.models)
        for model, sums in other.models.items():
            models[model] = models.get(model, Sums()) + sums
        latency = dict(self.latency)
        for index, count in other.latency.items():
            latency[index] = latency.get(index, 0) + count
        return Totals(
            self.sums + other.sums,
            models,
            latency,
            self.latency_sum_ms + other.latency_sum_ms,
            max(self.latency_max_ms, other.latency_max_ms),
        )

    @property
    def error_rate(self) -> float:
        """Failed runs of all runs, 0 to 1; 0 where there are none."""
        return self.sums.failed / self.sums.runs if self.sums.runs else 0.0

    @property
    def latency_count(self) -> int:
        return sum(self.latency.values())

    def percentile(self, share: float) -> float | None:
        """The duration in milliseconds that ``share`` (0 to 1) of the runs do not exceed (nearest rank), within ``ACCURACY``."""
        count = self.latency_count
        if not count:
            return None
        rank = max(1, math.ceil(share * count))
        for index in sorted(self.latency):
            rank -= self.latency[index]
            if rank <= 0:
                return min(_middle(index), float(self.latency_max_ms))
        raise AssertionError("ranks are within the count")

    def to_json(self) -> dict[str, Any]:
        return {
            "sums": self.sums.to_json(),
            "models": {model: sums.to_json() for model, sums in sorted(self.models.items())},
            "latency": {str(index): count for index, count in sorted(self.latency.items())},
            "latency_sum_ms": self.latency_sum_ms,
            "latency_max_ms": self.latency_max_ms,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what ``to_json`` did not make."""
        return cls(
            Sums(*value["sums"]),
            {model: Sums(*sums) for model, sums in value["models"].items()},
            {int(index): count for index, count in value["latency"].items()},
            value["latency_sum_ms"],
            value["latency_max_ms"],
        )


def merged(parts: Iterable[Totals]) -> Totals:
    """The totals of all ``parts`` together."""
    return sum(parts, Totals())


def bucket(milliseconds: int) -> int:
    """Number of the latency bucket that holds ``milliseconds``."""
    return 0 if milliseconds <= 1 else math.ceil(math.log(milliseconds) / _LOG_GAMMA - 1e-9)


def _middle(index: int) -> float:
    """The value whose relative distance to both ends of the bucket is ``ACCURACY``."""
    return 2 * GAMMA**index / (GAMMA + 1) if index else 1.0


def _nano(cost_usd: float) -> int:
    return round(cost_usd * NANO) if math.isfinite(cost_usd) and cost_usd > 0 else 0

"""Intervals at 95 %: of a share, and of a mean difference of pairs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Final, NamedTuple

_Z: Final = 1.959964


class Interval(NamedTuple):
    """``value`` with the ends of its interval; the ends are None where there is too little to tell."""

    value: float
    low: float | None
    high: float | None
    n: int


def share(hits: int, n: int) -> Interval | None:
    """Wilson's score interval, which holds for small numbers and near 0 and 1 too; None of nothing."""
    if n == 0:
        return None
    p, z2 = hits / n, _Z * _Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half), n)


def mean_difference(before: Sequence[float], after: Sequence[float]) -> Interval | None:
    """The mean of the pairs' differences, by the normal approximation; None of nothing. From some thirty pairs on it is sound."""
    differences = [right - left for left, right in zip(before, after, strict=True)]
    if not differences:
        return None
    mean = fmean(differences)
    if len(differences) < 2:
        return Interval(mean, None, None, len(differences))
    half = _Z * stdev(differences) / math.sqrt(len(differences))
    return Interval(mean, mean - half, mean + half, len(differences))


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """The values at 5, 25, 50, 75 and 95 %, each one that occurred; of at least one."""
    ordered = sorted(values)
    return tuple(ordered[round(q * (len(ordered) - 1))] for q in (0.05, 0.25, 0.5, 0.75, 0.95))


def paired_shares(n: int, gained: int, lost: int) -> Interval | None:
    """The difference of two shares over the same ``n`` pairs, of which ``gained`` hold only after and ``lost`` only before.

    By Bonett and Price (2012), which holds for small numbers and where nothing changed; None of nothing.
    """
    if n == 0:
        return None
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Interval((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half), n)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: how likely so uneven a split is, or a more uneven one, were both as likely."""
    n, fewer = gained + lost, min(gained, lost)
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))

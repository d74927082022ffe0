"""Counters and histograms that cost next to nothing to move, exposed by prometheus-client as a custom collector.

The library's own take a lock, check themselves and convert at each call; some twenty of them are moved for each run, which was a
fifth of what a run costs. Here a series is a number. So that no lock is needed, **each series has one thread that moves it**; any
thread may read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


S = TypeVar("S", Count, Distribution)


class _Family(Collector, Generic[S]):
    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._series: dict[tuple[object, ...], S] = {}
        if not labels:
            self.labels()  # shown as zero from the start
        registry.register(self)

    def labels(self, *values: object) -> S:
        """The series with these values. Keep it where it is moved often."""
        series = self._series.get(values)
        if series is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}")
            series = self._series[values] = self._make()
        return series

    def _make(self) -> S:
        raise NotImplementedError

    def describe(self) -> Iterator[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, series in list(self._series.items()):
            self._add(family, [str(value) for value in values], series)
        yield family

    def _family(self) -> Any:
        raise NotImplementedError

    def _add(self, family: Any, values: Sequence[str], series: S) -> None:
        raise NotImplementedError


class Counter(_Family[Count]):
    """A counter by its labels; without any it can be moved itself."""

    def inc(self, amount: float = 1) -> None:
        self.labels().inc(amount)

    def _make(self) -> Count:
        return Count()

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._documentation, labels=self._labels)

    def _add(self, family: Any, values: Sequence[str], series: Count) -> None:
        family.add_metric(values, series.value)


class Histogram(_Family[Distribution]):
    """A histogram by its labels. ``buckets``: upper bounds, ascending, without infinity."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._bounds: Final = tuple(float(bound) for bound in buckets)
        super().__init__(name, documentation, labels, registry)

    def _make(self) -> Distribution:
        return Distribution(self._bounds)

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def _add(self, family: Any, values: Sequence[str], series: Distribution) -> None:
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, accumulate(series.counts), strict=True)), sum_value=series.total)

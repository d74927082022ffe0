"""What a container allows its process and what passes through it, as metrics: in production one process has a container of its own.

Read at each scrape, so there is nothing to start or stop. Outside a container the limit is absent and the network is the machine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_LIMITS: Final = (  # of version 2 and version 1 of control groups, as a container sees its own
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT: Final = 2**60  # version 1 says "no limit" with a number past all machines, version 2 with a word


class Container(Collector):
    """``limits``: files to read the memory limit from, the first that is there."""

    def __init__(self, limits: tuple[Path, ...] = _LIMITS) -> None:
        self._limits = limits

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        limit = GaugeMetricFamily("headrace_memory_limit_bytes", "Memory that this process's container may use.")
        if (found := memory_limit(self._limits)) is not None:
            limit.add_metric([], found)
        yield limit
        traffic = CounterMetricFamily(
            "headrace_network_bytes", "Bytes through this container's network, loopback left out.", labels=["direction"]
        )
        counters = [one for name, one in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        traffic.add_metric(["received"], sum(one.bytes_recv for one in counters))
        traffic.add_metric(["sent"], sum(one.bytes_sent for one in counters))
        yield traffic


def memory_limit(limits: tuple[Path, ...]) -> int | None:
    """Bytes, or None where there is no limit or none can be seen."""
    for path in limits:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None
    return None

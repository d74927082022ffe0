"""The harness itself, on the shared stack: a few invocations through the yardstick and through headrace."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from benchmarks.harness.catalog import SETTINGS, VARIANTS
from benchmarks.harness.measure import measure
from benchmarks.harness.servers import Servers
from benchmarks.harness.session import Session, Shape

from headrace.local.endpoints import Endpoints
from headrace.local.guard import Guard


class SharedServers(Servers):
    """The servers of the test run; whose CPU they take is not asked."""

    def __init__(self, data: Path, endpoints: Endpoints, guard: Guard) -> None:
        super().__init__(data, data, guard)
        self._endpoints = endpoints

    @property
    def endpoints(self) -> Endpoints:
        return self._endpoints


@pytest.mark.parametrize("variant", ["raw-group", "headrace"])
def test_every_invocation_comes_back_once_and_right(variant: str, stack: Endpoints, tmp_path: Path) -> None:
    with closing(Guard()) as guard:
        session = Session(SharedServers(tmp_path, stack, guard), tmp_path, lock=None)
        found = measure(session, VARIANTS[variant], SETTINGS["A"], Shape(count=60, warm=20))
    assert [found[what] for what in ("finished", "lost", "doubled", "wrong", "errors")] == [60, 0, 0, 0, []]
    assert found["peak_rss_mb"]

"""One cluster for all that kill, stop and pause brokers, on the registry and the database that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.local.endpoints import Endpoints
from tests.faults.arena import Ground, ground


@pytest.fixture(scope="package")
def battleground(stack: Endpoints) -> Iterator[Ground]:
    """For one test after the other, the group "three brokers". Whoever harms it puts it back (`restore`)."""
    with ground(stack.schema_registry_url, stack.database_url) as made:
        yield made

"""Fixtures for tests on real servers. What they do is in `tests/support/stack.py`."""

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import settings

from headrace.local.endpoints import Endpoints
from tests.support.no_models import no_models
from tests.support.stack import fresh_database, shared_stack, unique_namespace

__all__ = ["no_models"]  # an autouse fixture

settings.register_profile("headrace", deadline=None)  # no test asserts on speed: a busy machine is no failure
settings.load_profile("headrace")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups hold what must not run twice or side by side. pytest 9.2 made xdist 3.8 lose them without a word."""
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if getattr(config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("this pytest-xdist does not group tests with this pytest")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that runs in the test's own process says what of the logs it lets through; the next test does not inherit that."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def stack() -> Iterator[Endpoints]:
    """Kafka, schema registry and PostgreSQL, one stack for all workers of the run. Never harm it; use `namespace`."""
    with shared_stack() as endpoints:
        yield endpoints


@pytest.fixture
def namespace() -> str:
    """A prefix of this test's own for topics, groups and transactional ids."""
    return unique_namespace()


@pytest.fixture
async def database_url(stack: Endpoints) -> AsyncIterator[str]:
    """The URL of a fresh database of this test's own."""
    async with fresh_database(stack.database_url) as url:
        yield url

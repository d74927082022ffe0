"""A pool on a database of the test's own."""

from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool"]

"""Imported by the process that the services and the workers of tests are forked from."""

import tests.faults.worker  # noqa: F401
from headrace.cli import preload  # noqa: F401  # the last one, since it puts all that is there out of the collector's sight

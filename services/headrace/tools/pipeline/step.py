"""What a step is: a transform of a table, made from checked arguments."""

from __future__ import annotations

from collections.abc import Callable

from headrace.tools.pipeline.table import Table

Transform = Callable[[Table], Table]

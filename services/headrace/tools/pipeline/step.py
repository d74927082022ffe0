"""What a step is: a transform of rows, made from checked arguments."""

from __future__ import annotations

from collections.abc import Callable

from headrace.tools.pipeline.rows import Rows

Transform = Callable[[Rows], Rows]

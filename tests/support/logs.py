"""Loggers that remember how they were configured, made to forget it: a test's stderr is closed when the test is over."""

from __future__ import annotations

import sys

from structlog._config import BoundLoggerLazyProxy


def forget_loggers() -> None:
    for name, module in list(sys.modules.items()):
        log = getattr(module, "log", None)
        if name.startswith("headrace.") and isinstance(log, BoundLoggerLazyProxy):
            vars(log).pop("bind", None)  # where structlog keeps it

"""The names of webhook secrets. Apart from the settings, for who sets one without needing what reads it."""

from __future__ import annotations

import re
from typing import Final

_PREFIX: Final = "HEADRACE_WEBHOOK_SECRET_"


def secret_variable(source: str) -> str:
    """The environment variable that holds a source's secret(s)."""
    return _PREFIX + re.sub(r"[^A-Z0-9]", "_", source.upper())

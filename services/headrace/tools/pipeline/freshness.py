"""For how long an HTTP answer may be given again: what ``Cache-Control`` says, as far as a cache of results needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NEVER: Final = re.compile(r"(?:^|[,\s])(?:no-store|no-cache)(?:[\s,=]|$)", re.IGNORECASE)
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})\"?", re.IGNORECASE)


def fresh_for(headers: Mapping[str, str]) -> float | None:
    """Seconds; 0 where the answer must not be given again, None where its server does not say. ``headers`` have
    lower-case names.
    """
    control = headers.get("cache-control", "")
    if _NEVER.search(control):
        return 0.0
    if found := _MAX_AGE.search(control):
        age = headers.get("age", "").strip()
        return max(0.0, float(found[1]) - (float(age) if age.isascii() and age.isdigit() and len(age) < 11 else 0.0))
    return None

"""Canonical JSON: keys sorted by code point, no spaces, UTF-8. One value, one text, whoever wrote it and in whatever order.

**Never change it**: hashes, ids and names that are stored depend on these bytes.
"""

from __future__ import annotations

from typing import Any

import orjson


def canonical_json(value: Any) -> bytes:
    """Raises ``TypeError`` for what JSON can't hold, keys that are no text among it."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

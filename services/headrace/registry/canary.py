"""Which keys a canary gets: a share of all keys, the same ones wherever and whenever it is asked.

A key is a session, a workflow run, a partition key or a run (``Job.canary_key``). It has a place in [0, 1) that follows from
the agent, the canary's version and the key alone; a canary of ``percent`` gets the keys below that. So a canary that grows keeps
the keys that it has, and another version's canary falls on other keys.
"""

from __future__ import annotations

import hashlib
from typing import Final

_SEPARATOR: Final = "\x1f"


def gets(agent: str, version: str, percent: float, key: str) -> bool:
    """Whether the canary ``version`` of ``agent`` gets ``key``."""
    return place_of(agent, version, key) * 100 < percent


def place_of(agent: str, version: str, key: str) -> float:
    """Where in [0, 1) a key stands. Never change it: whoever has a canary under way would see keys change versions."""
    text = _SEPARATOR.join(("canary", agent, version, key))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53

"""API keys: ``hrk_<id>_<secret>``. The id finds the row, the secret is 256 random bits, and only a digest of the whole is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "hrk_"
_FORM: Final = re.compile(r"hrk_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_PURPOSE: Final = b"headrace api key v1\0"  # apart from what else the secret signs


def new_key() -> tuple[str, str]:
    """``(id, key)``. The key is for its owner, once."""
    key_id = secrets.token_hex(8)
    return key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"


def key_id_of(key: str) -> str | None:
    """The id in a key of the right form, else None."""
    found = _FORM.fullmatch(key)
    return found[1] if found else None


def digest(key: str, pepper: bytes) -> bytes:
    """What is stored of ``key``. Without the pepper nobody can make or check it. Never change its form."""
    return hmac.digest(pepper, _PURPOSE + key.encode(), hashlib.sha256)


def matches(key: str, stored: bytes, peppers: Sequence[bytes]) -> bool:
    """Whether ``stored`` is of ``key``, under any of the peppers; in constant time for each."""
    return sum(hmac.compare_digest(digest(key, pepper), stored) for pepper in peppers) > 0

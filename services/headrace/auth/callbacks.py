"""Callback tokens, ``hrw_<43 characters>``: each opens the callback of one wait and nothing else.

They are computed, never stored: HMAC-SHA-256 over tenant and wait. So a token of a wait is the same whenever it is asked for, and
ends with the secret that made it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "hrw_"
_PURPOSE: Final = b"headrace callback token v1\0"  # apart from what else the secret signs


def token(secret: bytes, tenant: str, wait_id: str) -> str:
    """Whoever has it may say what came of the wait."""
    digest = hmac.digest(secret, _PURPOSE + f"{tenant}\0{wait_id}".encode(), hashlib.sha256)
    return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def opens(credential: str, secrets: Sequence[bytes], tenant: str, wait_id: str) -> bool:
    """Whether ``credential`` is the wait's token, under any of the secrets; in constant time for each."""
    given = credential.encode()
    return sum(hmac.compare_digest(given, token(secret, tenant, wait_id).encode()) for secret in secrets) > 0

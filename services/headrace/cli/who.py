"""Who gives a command."""

from __future__ import annotations

import getpass
import platform


def who() -> str:
    """``cli:USER@HOST``, as far as the machine knows. Nobody checked it, which is what ``cli:`` says."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this user id
        user = "?"
    return f"cli:{user}@{platform.node() or '?'}"

"""Order of versions, by the precedence rules of Semantic Versioning 2.0.0 (section 11)."""

from __future__ import annotations

import re

_NUMERIC = re.compile(r"[0-9]+")  # ASCII only: str.isdigit also accepts digits that int() refuses

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Precedence:
    """Sort key of ``version`` (``MAJOR.MINOR.PATCH[-PRERELEASE]``): ``2.0.0-rc.2 < 2.0.0-rc.10 < 2.0.0``.

    Raises:
        ValueError: ``version`` has no three numbers in front.
    """
    core, _, prerelease = version.partition("-")
    major, minor, patch = (int(number) for number in core.split("."))
    return major, minor, patch, not prerelease, tuple(_identifier(part) for part in prerelease.split(".") if part)


def _identifier(part: str) -> tuple[bool, int, str]:
    """Numbers compare as numbers and come before words; words compare as ASCII."""
    return (False, int(part), "") if _NUMERIC.fullmatch(part) else (True, 0, part)

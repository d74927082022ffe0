"""Where ``schemas/`` and ``topics/`` are: at the root of a checkout, or beside the package in an installed wheel.

The checkout is looked at first. An editable install also has a ``_data`` folder, but that is a copy made at install time, and a
stale contract is worse than none.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = _PACKAGE.parent.parent


def schemas_dir() -> Path:
    """Folder with one subfolder per message topic."""
    return _find("schemas")


def topics_dir() -> Path:
    """Folder with one YAML file per topic."""
    return _find("topics")


def _find(name: str) -> Path:
    if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / name).is_dir():
        return _CHECKOUT / name
    return _PACKAGE / "_data" / name

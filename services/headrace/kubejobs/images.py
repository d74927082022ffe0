"""Container images by name: what one is, and an allow-list of them. Pure.

The grammar is the distribution project's: ``[host[:port]/]path[:tag][@digest]``. Docker's short names are read as they are written;
nothing is added to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST: Final = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?/)?"
)
_PATH: Final = rf"{_PART}(?:/{_PART})*"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE: Final = re.compile(rf"(?P<name>{_HOST}{_PATH})(?::(?P<tag>{_TAG}))?(?:@sha256:[0-9a-f]{{64}})?")
_MAX: Final = 400


def is_image(text: str) -> bool:
    return len(text) <= _MAX and _IMAGE.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """An image, or a name with ``:*`` for whatever tag."""
    return is_image(text.removesuffix(":*"))


def allowed(image: str, patterns: Iterable[str]) -> bool:
    """Whether ``image`` is one of ``patterns``. A star stands for one tag, and for no digest, path or host."""
    match = _IMAGE.fullmatch(image) if len(image) <= _MAX else None
    if match is None:
        return False
    tagged = f"{match['name']}:*" if match["tag"] and "@" not in image else None
    return any(pattern in (image, tagged) for pattern in patterns)

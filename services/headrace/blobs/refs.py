"""The reference of a blob, ``cas://sha256:<hex>``, taken apart. Adapters name files and rows only from what this returns."""

from __future__ import annotations

import re

from headrace.messages.errors import BadMessage

_REF = re.compile(r"cas://sha256:([0-9a-f]{64})")


def is_ref(text: str) -> bool:
    """Whether ``text`` is a reference of a blob."""
    return _REF.fullmatch(text) is not None


def digest_of(ref: str) -> bytes:
    """The 32 bytes of the SHA-256 in ``ref``. Raises ``BadMessage`` (``blob_ref``) for anything else."""
    match = _REF.fullmatch(ref)
    if match is None:
        raise BadMessage("not a blob reference", cause="blob_ref", where=ref[:80])
    return bytes.fromhex(match[1])

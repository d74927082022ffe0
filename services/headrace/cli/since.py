"""``--since`` of commands: a span back from now, or a time."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.cli.output import stop
from headrace.index.usage import moment
from headrace.messages.errors import BadMessage


def since_of(text: str | None) -> datetime | None:
    """``7d`` or ``2026-11-01``; None where nothing is said. Raises ``Exit`` 2 for what is neither."""
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC))
    except BadMessage as error:
        raise stop(f"--since: {error}", 2) from None

"""Server-sent events, line by line (WHATWG HTML, 9.2), as far as the gateway sends them."""

from __future__ import annotations

import msgspec

from headrace.client.errors import Unreachable
from headrace.client.models import RunEvent


class Events:
    """``feed`` lines without their ends; ``last_id`` is what a client that comes back goes on after."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._fields: dict[str, str] = {}

    def begin(self) -> dict[str, str]:
        """A connection begins; the headers to ask for it with."""
        self._fields = {}
        return {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.last_id} if self.last_id else {})

    def feed(self, line: str) -> RunEvent | None:
        """The event that ends with this line. Raises ``Unreachable`` where the gateway says that it can't go on."""
        if line:
            name, _, value = line.partition(":")
            if name:  # else a comment, which keeps the connection alive
                self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        if fields.get("event") == "error":
            raise Unreachable("the event stream ended early")
        place = fields.get("id", "")
        self.last_id = place or self.last_id
        return RunEvent(id=place, type=fields["event"], data=msgspec.json.decode(fields["data"], type=dict))

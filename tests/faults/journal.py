"""What a process did, line by line, in a file that outlives its kill -9: each note is one ``write`` to the kernel.

Times are ``time.monotonic``, which all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Note = dict[str, Any]


class Journal:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._pid = os.getpid()

    def note(self, event: str, **fields: Any) -> None:
        line = orjson.dumps({"event": event, "at": time.monotonic(), "pid": self._pid, **fields})
        os.write(self._fd, line + b"\n")


def read(folder: Path) -> Iterator[Note]:
    """All notes of a folder, in order of time. The last line of a killed process may be cut short: it did not happen."""
    notes: list[Note] = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                notes.append(orjson.loads(line))
    return iter(sorted(notes, key=lambda note: note["at"]))

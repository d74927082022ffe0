"""Holds: a request to the supervisor of a data directory to keep one service stopped for a while.

A hold is the file `<data>/held/<service>.json`, which names the process that asked. It ends when that process removes it, or dies:
a service must not stay stopped because somebody's terminal was closed. The supervisor looks at each turn of its loop.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from headrace.local.process import is_same_process, start_time


def place(data_dir: Path, service: str) -> None:
    """Asks that `service` be stopped, for as long as this process lives or until `lift`."""
    path = _path(data_dir, service)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}))
    partial.replace(path)


def lift(data_dir: Path, service: str) -> None:
    """Takes the request back; does nothing when there is none."""
    _path(data_dir, service).unlink(missing_ok=True)


def held(data_dir: Path, service: str) -> bool:
    """Whether a living process asks that `service` be stopped. Removes what a dead one left."""
    path = _path(data_dir, service)
    try:
        raw = json.loads(path.read_text())
        if is_same_process(int(raw["pid"]), float(raw["started"])):
            return True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not a hold that anybody could lift
    with suppress(OSError):
        path.unlink()
    return False


def _path(data_dir: Path, service: str) -> Path:
    return data_dir.expanduser().absolute() / "held" / f"{service}.json"

"""Which TCP ports the parts listen on, all on 127.0.0.1.

A part asks `PortBook` by name. The answer is, in this order: the port that the user chose, the one remembered from the
last start (so that clients of a restarted stack find it again), a free one. Free ports are taken from below the
kernel's ephemeral range, where no outgoing connection can sit on them while the stack is down.
"""

import errno
import json
import random
import socket
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil

from headrace.local.errors import PortInUse, StackError

HOST = "127.0.0.1"
_FREE_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether nobody listens on this port (addresses in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port(*, taken: Collection[int] = ()) -> int:
    """A port that nobody listens on, and none of ``taken``. Raises `StackError` where there seems to be none.

    It is from below the ephemeral range, whose ports an outgoing connection may have before the server has begun to listen.
    """
    for _ in range(_ATTEMPTS):
        port = random.choice(_FREE_RANGE)  # noqa: S311 - spreads neighbours apart, protects nothing
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port found between {_FREE_RANGE.start} and {_FREE_RANGE.stop}")


def require_free(port: int, what: str) -> None:
    """Raises `PortInUse` unless the port is free."""
    if not is_free(port):
        raise PortInUse(port, what, _holder(port))


def _holder(port: int) -> str | None:
    """Who listens on the port, as far as the system tells us: other users' sockets have no process."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    pids = {one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port}
    for pid in sorted(pid for pid in pids if pid):
        try:
            return f"process {pid}, {psutil.Process(pid).name()}"
        except psutil.Error:
            continue
    return None


class PortBook:
    """The ports of one data directory, kept in `path` (JSON, name -> port)."""

    def __init__(self, path: Path, chosen: Mapping[str, int] | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        self._ports.update(chosen or {})

    def port(self, name: str) -> int:
        """The port of `name`; the same one at each call and after a restart."""
        with self._lock:
            if name not in self._ports:
                self._ports[name] = free_port(taken=self._ports.values())
            self._save()
            return self._ports[name]

    def another(self, name: str) -> int:
        """A free port for `name` in place of the one that it had."""
        with self._lock:
            self._ports[name] = free_port(taken=self._ports.values())
            self._save()
            return self._ports[name]

    def _save(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._ports, indent=1))
        partial.replace(self._path)

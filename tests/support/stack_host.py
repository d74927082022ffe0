"""The process that owns the stack of a test run: `python -m tests.support.stack_host BASE RUN`.

It listens on `BASE/RUN.sock`; each connection is a lease and gets one line of JSON, the addresses. When no lease is left it
stops the stack, removes its data and exits. It takes the start lock before it removes its socket, so that no test process
can connect to a host that is about to leave.
"""

import fcntl
import json
import selectors
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from headrace.local.stack import Stack


def serve(base: Path, run: str) -> None:
    """Runs the stack for as long as there are leases."""
    path = base / f"{run}.sock"
    data = Path(tempfile.mkdtemp(prefix=f"{run}-", dir=base))
    stack = Stack(data, fast=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        partial = base / f"{run}.sock.partial"
        listener.bind(str(partial))
        listener.listen(64)
        partial.rename(path)
        leases = _Leases(listener, _start(stack))
        try:
            leases.serve()
            with (base / "start.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                while leases.waiting():
                    leases.serve()
                path.unlink()
        finally:
            path.unlink(missing_ok=True)
            stack.stop()
            shutil.rmtree(data)
            (base / f"{run}.log").unlink(missing_ok=True)
            leases.close()


def _start(stack: Stack) -> bytes:
    try:
        answer = asdict(stack.start())
    except Exception as error:
        answer = {"error": f"the test stack did not start: {error}"}
    return json.dumps(answer).encode() + b"\n"


class _Leases:
    """The open leases. `serve` returns when there is none; the last one is answered by `close`, after the stop."""

    def __init__(self, listener: socket.socket, answer: bytes) -> None:
        self._listener = listener
        self._answer = answer
        self._open: set[socket.socket] = set()
        self._last: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def waiting(self) -> bool:
        """Whether somebody is about to be admitted."""
        return bool(self._selector.select(timeout=0))

    def serve(self) -> None:
        """Admits and ends leases until the last one has ended."""
        admitted = False
        while self._open or not admitted:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._admit()
                    admitted = True
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._end(key.fileobj)

    def close(self) -> None:
        """Answers those who wait for the stop."""
        self._selector.close()
        for lease in self._last:
            lease.close()

    def _admit(self) -> None:
        lease, _ = self._listener.accept()
        self._open.add(lease)
        self._selector.register(lease, selectors.EVENT_READ)
        with suppress(OSError):
            lease.sendall(self._answer)

    def _end(self, lease: socket.socket) -> None:
        self._selector.unregister(lease)
        self._open.discard(lease)
        if self._open:
            lease.close()
        else:
            self._last.append(lease)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])

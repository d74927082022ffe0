"""One stack a data directory: an advisory lock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from headrace.local.errors import AlreadyRunning


class InstanceLock:
    """The lock file `<data>/lock`; it holds the pid of whoever has the lock."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock. Raises `AlreadyRunning`."""
        descriptor = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode()
            os.close(descriptor)
            raise AlreadyRunning(self._data_dir, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The pid of the process that holds the lock, or None when it is free."""
        try:
            self.acquire()
        except AlreadyRunning as error:
            return error.pid
        self.release()
        return None

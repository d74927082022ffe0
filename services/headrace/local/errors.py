"""What can go wrong with the embedded stack, as one tree.

    StackError
    ├── DownloadFailed        an archive could not be fetched or did not match its pinned hash
    ├── PortInUse             somebody else listens on a port that a part needs
    ├── StartFailed           a part did not become ready; carries the tail of its log
    ├── PartFailed            a part kept crashing; carries the tail of its log
    ├── AlreadyRunning        another process runs a stack on this data directory
    ├── NotRunning            nothing runs on this data directory
    ├── Cancelled             the stack was stopped while it still started
    └── Unreachable           an external part named by an environment variable does not answer

The command line catches `StackError` and prints `str(error)`; every message says what to do or where to look.
No message carries a password: database URLs are named by their variable only.
"""

from pathlib import Path


class StackError(Exception):
    """Base of all errors of the embedded stack."""


class DownloadFailed(StackError):
    """An artifact could not be fetched, or what arrived is not what `artifacts.lock.json` pins."""


class PortInUse(StackError):
    """Another process listens on `port`, which `what` needs. `holder` names it ("process 71, nginx") where that is known."""

    def __init__(self, port: int, what: str, holder: str | None = None) -> None:
        super().__init__(
            f"port {port} on 127.0.0.1, needed by {what}, is in use by {holder or 'another process'}: "
            "stop that process or choose another port"
        )
        self.port = port
        self.what = what


class StartFailed(StackError):
    """`part` did not become ready. `log_tail` holds the last lines that it wrote."""

    def __init__(self, part: str, reason: str, log_path: Path, log_tail: str) -> None:
        super().__init__(
            f"{part} did not start: {reason}\n--- end of {log_path} ---\n{log_tail or '(the log is empty)'}"
        )
        self.part = part
        self.reason = reason
        self.log_path = log_path
        self.log_tail = log_tail


class PartFailed(StackError):
    """`part` crashed more often than its restart budget allows."""

    def __init__(self, part: str, crashes: int, window: float, log_path: Path, log_tail: str) -> None:
        super().__init__(
            f"{part} crashed {crashes} times within {window:g} s and is not restarted any more\n"
            f"--- end of {log_path} ---\n{log_tail or '(the log is empty)'}"
        )
        self.part = part
        self.log_path = log_path
        self.log_tail = log_tail


class AlreadyRunning(StackError):
    """Another process (`pid`, when known) holds the lock of this data directory."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = f" (process {pid})" if pid is not None else ""
        super().__init__(f"a stack already runs on {data_dir}{holder}: stop it first or choose another data directory")
        self.data_dir = data_dir
        self.pid = pid


class NotRunning(StackError):
    """Nothing runs on this data directory."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no stack runs on {data_dir}")
        self.data_dir = data_dir


class Cancelled(StackError):
    """The stack was stopped while `part` was about to be started."""

    def __init__(self, part: str) -> None:
        super().__init__(f"{part} was not started: the stack is being stopped")


class Unreachable(StackError):
    """The part that an environment variable points at does not answer."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable} is set, but what it points at does not answer: {reason}")
        self.variable = variable

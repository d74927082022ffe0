"""What all servers of the stack have in common: prepare, launch, wait until ready, stop, crash, start again.

A server is one process. Its subclass says how to prepare the data directory, which command to run and how to see that it
is ready; everything else is here. Starting is two steps, `launch` and `wait_ready`, because the brokers of one cluster
become ready only together.
"""

import signal
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from headrace.local.errors import StartFailed
from headrace.local.guard import Guard
from headrace.local.nursery import Nursery
from headrace.local.ports import PortBook, is_free, require_free
from headrace.local.process import Command, ManagedProcess, end_leftover
from headrace.local.progress import Progress, Step, silent

_POLL_SECONDS = 0.03
_ORPHANS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where servers live: one data directory with its ports, and the guard that ends them with us.

    Once `closing` is set, no process starts any more. Those that can come from the `nursery`, if there is one.
    """

    data_dir: Path
    ports: PortBook
    guard: Guard
    progress: Progress = silent
    closing: threading.Event = field(default_factory=threading.Event)
    nursery: Nursery | None = None

    def process(self, name: str) -> ManagedProcess:
        """A process of this site, not started."""
        return ManagedProcess(name, self.log_path(name), self.pid_path(name), self.guard, self.closing, self.nursery)

    def pid_path(self, name: str) -> Path:
        """The pid file of a process."""
        return self.data_dir / "run" / f"{name}.json"

    def log_path(self, name: str) -> Path:
        """The log of a process."""
        return self.data_dir / "logs" / f"{name}.log"


class Server(ABC):
    """One server process named `name`, for example "kafka-1"."""

    label: str
    """What error messages and progress call it."""
    ready_seconds = 120.0  # seconds on an idle machine; this is for one that is busy
    stop_seconds = 20.0

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.process = site.process(name)

    @property
    @abstractmethod
    def listens(self) -> tuple[int, ...]:
        """The ports that it needs."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes its data directory ready for a start; called before each one."""

    @abstractmethod
    def command(self) -> Command:
        """What to run."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers now. False rather than an error while it does not."""

    def start(self) -> None:
        """Launches and waits. Raises `PortInUse` or `StartFailed`."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Ends a left-over, checks the ports, prepares and starts the process. Raises `PortInUse`."""
        end_leftover(self.site.pid_path(self.name))
        for port in self.listens:
            require_free(port, self.label)
        self.site.progress(Step(self.name, "starting"))
        self.prepare()
        self.process.start(self.command())

    def await_ports(self) -> None:
        """Waits a while for ports that somebody has: after a crash, what the server had forked may listen a moment longer."""
        until = time.monotonic() + _ORPHANS_SECONDS
        while not all(map(is_free, self.listens)) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)

    def wait_ready(self) -> None:
        """Waits until it answers. Stops it and raises `StartFailed` when it exits or takes too long."""
        begun = time.monotonic()
        while not self.is_ready():
            if not self.process.running:
                code = self.process.exit_code()
                self._fail("it was stopped" if code is None else f"it exited with code {code}")
            if time.monotonic() - begun > self.ready_seconds:
                self._fail(f"not ready after {self.ready_seconds:g} s")
            time.sleep(_POLL_SECONDS)
        self.site.progress(Step(self.name, f"ready after {time.monotonic() - begun:.1f} s"))

    def _fail(self, reason: str) -> None:
        self.process.kill()
        raise StartFailed(self.label, reason, self.process.log_path, self.process.log_tail())

    def stop(self) -> None:
        """Asks it to end, and kills it only if it does not."""
        self.process.stop(self.stop_seconds)

    def kill(self) -> None:
        """SIGKILL, as a crash would do it."""
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: alive for the network, but mute."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send(signal.SIGCONT)

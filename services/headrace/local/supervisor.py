"""What `headrace up` runs: the stack, a preparation, then the services, watched until somebody says stop.

    starting -> preparing -> ready <-> degraded -> stopping -> (state file removed)
        \\___________\\_________\\_________/  error -> failed (state file says why)

Order matters twice. Up: the stack answers before the preparation (topics, migrations, definitions) runs, and that is done
before any service starts. Down: services drain first, while the servers they commit to are still there.

A service that somebody holds (`holds.py`) is stopped until the hold ends, however it ends.

A service that keeps crashing makes the mesh `degraded`; a *server* that keeps crashing ends it, since without Kafka or
PostgreSQL nothing works. The supervisor's own death, even by SIGKILL, takes all children with it (`guard.py`).
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from headrace.local.endpoints import Endpoints
from headrace.local.errors import StackError, StartFailed
from headrace.local.guard import Guard
from headrace.local.holds import held
from headrace.local.instance import InstanceLock
from headrace.local.nursery import Nursery
from headrace.local.ports import PortBook
from headrace.local.progress import Progress, Step, silent
from headrace.local.server import Site
from headrace.local.service import Service, ServiceSpec
from headrace.local.stack import PartStatus, Stack, State
from headrace.local.state import own_state, state_path, write_state

_PERIOD_SECONDS = 0.25
_SERVICE_START_SECONDS = 120.0

Prepare = Callable[[Endpoints], None]


@dataclass(frozen=True, slots=True)
class Mesh:
    """What to run: a stack, the preparation, the services; `gateway_url` is only passed on to the state file.

    `preload` is a module that imports what the services' entries need: with it they come from a nursery.
    """

    stack: Stack
    services: Sequence[ServiceSpec]
    prepare: Prepare | None = None
    gateway_url: str = ""
    preload: str = ""


class Supervisor:
    """Runs one mesh in this process. Use it once."""

    def __init__(self, mesh: Mesh, progress: Progress = silent) -> None:
        self._mesh = mesh
        self._stack = mesh.stack
        self._data_dir = mesh.stack.data_dir
        self._progress = progress
        self._stopped = threading.Event()
        self._endpoints: Endpoints | None = None
        self._services: list[Service] = []
        self._interruptible = True

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Starts everything, calls `on_ready`, and returns after a clean stop by SIGTERM, SIGINT or `stop`.

        Raises a `StackError` when the start fails or a server keeps crashing; everything is stopped by then.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = InstanceLock(self._data_dir)
        lock.acquire()
        guard = Guard()
        try:
            with self._signals():
                self._run(guard, on_ready)
        finally:
            guard.close()
            lock.release()

    def stop(self) -> None:
        """Asks `run` to stop; from any thread."""
        self._stopped.set()

    def _run(self, guard: Guard, on_ready: Callable[[], None]) -> None:
        try:
            self._start(guard)
            self._interruptible = False
            on_ready()
            self._watch()
        except KeyboardInterrupt:
            self._finish()
        except BaseException as error:
            self._finish(error)
            raise
        else:
            self._finish()

    def _start(self, guard: Guard) -> None:
        self._write("starting")
        nursery = Nursery(self._mesh.preload) if self._mesh.preload and Nursery.possible() else None
        book = PortBook(self._data_dir / "service-ports.json")
        site = Site(self._data_dir, book, guard, self._progress, nursery=nursery)
        self._services = [Service(spec, site) for spec in self._mesh.services]
        for service in self._services:
            service.check_ports()
        self._endpoints = self._stack.start(self._progress, guard)
        self._write("preparing")
        if self._mesh.prepare is not None:
            self._progress(Step("mesh", "preparing"))
            if nursery is not None:
                nursery.call(self._mesh.prepare, self._endpoints)
            else:
                self._mesh.prepare(self._endpoints)
        for service in self._services:
            self._progress(Step(service.name, "starting"))
            service.start(self._endpoints.environment())
        self._await_services()
        self._write("ready")

    def _await_services(self) -> None:
        """Until all are ready. One crash is forgiven here, so that a broken configuration is reported within seconds."""
        deadline = time.monotonic() + _SERVICE_START_SECONDS
        while waiting := [service for service in self._services if service.state != State.READY]:
            for service in waiting:
                if service.tick(time.monotonic()) and service.state == State.READY:
                    self._progress(Step(service.name, "ready"))
                late = time.monotonic() > deadline
                if service.recent_crashes > 1 or late:
                    reason = "it crashed twice" if not late else f"not ready after {_SERVICE_START_SECONDS:g} s"
                    process = service.process
                    raise StartFailed(f"the {service.name} service", reason, process.log_path, process.log_tail())
            time.sleep(_PERIOD_SECONDS / 5)

    def _watch(self) -> None:
        """The servers are watched in a thread: one that starts again takes seconds, and neither services nor a stop wait for it."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="watch")
        try:
            watching, before = pool.submit(self._stack.watch_once, self._progress), self._part_states()
            while not self._stopped.wait(_PERIOD_SECONDS):
                if watching.done():
                    self._give_up_if_failed(watching.result())
                    watching = pool.submit(self._stack.watch_once, self._progress)
                services = [service for service in self._services if self._tick(service)]
                for service in services:
                    self._progress(Step(service.name, service.error or service.state.value))
                parts, before = before, self._part_states()
                if services or parts != before:
                    failed = any(service.state == State.FAILED for service in self._services)
                    self._write("degraded" if failed else "ready")
        finally:
            pool.shutdown(wait=False)  # the stop of the stack, which is next, ends what it waits for

    def _part_states(self) -> list[tuple[State, int]]:
        return [(part.state, part.restarts) for part in self._stack.status()]

    def _give_up_if_failed(self, changed: Sequence[PartStatus]) -> None:
        for part in changed:
            if part.state == State.FAILED:
                self._write("degraded")
                raise StackError(part.error)

    def _tick(self, service: Service) -> bool:
        return service.tick(time.monotonic(), held=held(self._data_dir, service.name))

    def _finish(self, error: BaseException | None = None) -> None:
        """Services first, then the servers. A failure leaves the state file behind, to tell why."""
        self._interruptible = False  # a second Ctrl-C does not cut the drain short
        self._write("stopping")
        for service in self._services:
            if service.process.running:
                self._progress(Step(service.name, "stopping"))
        if self._services:
            with ThreadPoolExecutor(len(self._services)) as pool:
                list(pool.map(Service.stop, self._services))
        self._stack.stop(self._progress)
        if error is None:
            state_path(self._data_dir).unlink(missing_ok=True)
        else:
            self._write("failed", str(error) or type(error).__name__)

    def _write(self, phase: str, error: str = "") -> None:
        state = own_state(
            phase,
            endpoints=self._endpoints,
            gateway_url=self._mesh.gateway_url,
            parts=self._stack.status(),
            services=[service.status() for service in self._services],
            error=error,
        )
        write_state(self._data_dir, state)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """While it starts, a signal interrupts whatever is going on; later it sets the flag that the loop looks at."""

        def asked_to_stop(_number: int, _frame: FrameType | None) -> None:
            self._stopped.set()
            if self._interruptible:
                self._interruptible = False
                raise KeyboardInterrupt

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, asked_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

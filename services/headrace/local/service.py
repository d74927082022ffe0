"""One headrace service as a child process: started, asked whether it is ready, started again after a crash.

Owns the child and its restart budget; the supervisor's loop drives it by `tick`. Its life as a table:

    state       child runs                    child ended
    STARTING    ready? -> READY               -> crash
    READY       (stays)                       -> crash
    RESTARTING  -                             wait is over? -> start -> STARTING
    FAILED      -                             -
    STOPPED     -                             not held any more? -> start -> STARTING

    crash: budget left -> RESTARTING, else -> FAILED
    held, in any state: SIGTERM, and once the child has ended (or its time to drain is over: SIGKILL) -> STOPPED
"""

import http.client
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.local.errors import PartFailed
from headrace.local.nursery import Entry
from headrace.local.ports import HOST, is_free, require_free
from headrace.local.process import Command, end_leftover
from headrace.local.restarts import RestartBudget
from headrace.local.server import Site
from headrace.local.stack import State
from headrace.local.state import ServiceStatus

DRAIN_SECONDS = 35.0
"""A service drains within 30 s of SIGTERM; past this it is killed."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What to run: `argv`, or `entry` from the nursery, with `env` on top of our environment and the endpoints.

    It must answer `GET http://127.0.0.1:$HEADRACE_OPS_PORT/readyz` with 200 once it is ready. `ops_port` None: a free one, the
    same after a restart unless somebody else has taken it. `listens` are further ports that it takes; they are checked before
    anything starts.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ops_port: int | None = None
    listens: Sequence[int] = ()
    entry: Entry | None = None


class Service:
    """A service under supervision. Not thread-safe: one loop calls it."""

    def __init__(self, spec: ServiceSpec, site: Site) -> None:
        self.spec = spec
        self.name = spec.name
        self._ports = site.ports
        self.ops_port = spec.ops_port or site.ports.port(f"{spec.name}-ops")
        self.process = site.process(spec.name)
        self._pid_path = site.pid_path(spec.name)
        self._environment: Mapping[str, str] = {}
        self._budget = RestartBudget(limit=5, delay=0.5)
        self._restart_at = 0.0
        self._restarts = 0
        self._kill_at: float | None = None  # it was asked to end, and gets SIGKILL then
        self.state = State.STOPPED
        self._since = time.time()
        self.error = ""

    def check_ports(self) -> None:
        """Ends a left-over of an earlier run; raises `PortInUse` when somebody else has one of its ports."""
        end_leftover(self._pid_path)
        chosen = () if self.spec.ops_port is None else (self.spec.ops_port,)
        for port in (*self.spec.listens, *chosen):
            require_free(port, f"the {self.name} service")

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts the child with `environment` (the endpoints) added to ours."""
        self._environment = environment
        self._launch()

    def tick(self, now: float, *, held: bool = False) -> bool:
        """One step of the table above at `now` (s, monotonic). Returns whether the state has changed."""
        before = self.state
        if self._kill_at is not None:
            self._await_end(now, self._kill_at)
        elif held:
            self._hold(now)
        elif self.state == State.STOPPED:
            self._launch()
        elif self.state in (State.STARTING, State.READY) and not self.process.running:
            self._crashed(now)
        elif self.state == State.STARTING and self._answers():
            self._become(State.READY)
        elif self.state == State.RESTARTING and now >= self._restart_at:
            self._restarts += 1
            self._launch()
        return self.state != before

    @property
    def recent_crashes(self) -> int:
        """Crashes within the window of the restart budget."""
        return self._budget.recent

    def stop(self) -> None:
        """SIGTERM, up to 35 s to drain, then SIGKILL."""
        self.process.stop(DRAIN_SECONDS)
        if self.state != State.FAILED:
            self._become(State.STOPPED)

    def status(self) -> ServiceStatus:
        """For the state file."""
        return ServiceStatus(
            name=self.name,
            state=self.state,
            since=self._since,
            restarts=self._restarts,
            pid=self.process.pid,
            ops_port=self.ops_port,
            log=str(self.process.log_path),
            error=self.error,
        )

    def _launch(self) -> None:
        if self.spec.ops_port is None and not is_free(self.ops_port):
            self.ops_port = self._ports.another(
                f"{self.name}-ops"
            )  # somebody was quicker, and nobody knows this one by heart
        env = {**os.environ, **self._environment, "HEADRACE_OPS_PORT": str(self.ops_port), **self.spec.env}
        self.process.start(Command(self.spec.argv, env, Path.cwd(), entry=self.spec.entry))
        self._become(State.STARTING)

    def _hold(self, now: float) -> None:
        """Never waits: the supervisor has others to look after while this one drains."""
        if self.state == State.STOPPED:
            return
        self.process.send(signal.SIGTERM)
        self.process.send(signal.SIGCONT)  # a stopped process would never see the request
        self._await_end(now, now + DRAIN_SECONDS)

    def _await_end(self, now: float, kill_at: float) -> None:
        self._kill_at = kill_at
        if not self.process.running or now >= kill_at:
            self.process.kill()  # reaps it
            self._kill_at = None
            self._become(State.STOPPED)

    def _crashed(self, now: float) -> None:
        self.process.kill()  # reaps it, and ends what it may have left behind
        delay = self._budget.crashed(now)
        if delay is not None:
            self._restart_at = now + delay
            self._become(State.RESTARTING)
            return
        process, budget = self.process, self._budget
        failure = PartFailed(
            f"the {self.name} service", budget.recent, budget.window, process.log_path, process.log_tail()
        )
        self._become(State.FAILED, str(failure))

    def _become(self, state: State, error: str = "") -> None:
        self.state, self._since, self.error = state, time.time(), error

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.ops_port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

"""The state file: what a running mesh tells other processes about itself.

`<data>/state.json` is written by the supervisor whenever something changes, and read by `status`, `down` and everybody who
wants the endpoints. It holds the database's password, so only its owner may read it. A file whose process is gone is
stale: `MeshState.alive` compares the start time too, since pids are given out again.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.local.endpoints import Endpoints
from headrace.local.errors import NotRunning
from headrace.local.process import is_same_process, start_time
from headrace.local.stack import PartStatus, State

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One headrace service. `since` in seconds since the epoch; `error` is set when it failed."""

    name: str
    state: State
    since: float
    restarts: int
    pid: int | None
    ops_port: int
    log: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class MeshState:
    """A mesh as its supervisor last wrote it down.

    `phase`: starting | preparing | ready | degraded (a service has failed) | stopping | failed (`error` says why).
    """

    pid: int
    started: float
    phase: str
    endpoints: Endpoints | None = None
    gateway_url: str = ""
    parts: list[PartStatus] = field(default_factory=list)
    services: list[ServiceStatus] = field(default_factory=list)
    error: str = ""

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return is_same_process(self.pid, self.started)


def own_state(phase: str, **fields: Any) -> MeshState:
    """A state of this process."""
    return MeshState(os.getpid(), start_time(os.getpid()), phase, **fields)


def state_path(data_dir: Path) -> Path:
    """Where the state file of a data directory is."""
    return data_dir.expanduser().absolute() / "state.json"


def write_state(data_dir: Path, state: MeshState) -> None:
    """Replaces the state file at once, readable by its owner only."""
    path = state_path(data_dir)
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"format": FORMAT, **asdict(state)}, file, indent=1)
    partial.replace(path)


def read_state(data_dir: Path) -> MeshState | None:
    """The last written state, stale or not; None when there is none (or of another format)."""
    try:
        raw = json.loads(state_path(data_dir).read_text())
        if raw.pop("format") != FORMAT:
            return None
        if raw["endpoints"] is not None:
            raw["endpoints"] = Endpoints(**raw["endpoints"])
        raw["parts"] = [
            PartStatus(**{**one, "state": State(one["state"]), "ports": tuple(one["ports"])}) for one in raw["parts"]
        ]
        raw["services"] = [ServiceStatus(**{**one, "state": State(one["state"])}) for one in raw["services"]]
        return MeshState(**raw)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running_state(data_dir: Path) -> MeshState:
    """The state of the mesh that runs on this data directory. Raises `NotRunning`."""
    state = read_state(data_dir)
    if state is None or not state.alive:
        raise NotRunning(data_dir)
    return state

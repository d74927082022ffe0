"""Every call of the API, without I/O: what is sent, and what its answer means. Both clients are thin drivers of this.

``None`` among parameters means: not given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx2
import msgspec

from headrace.client.errors import ApiError, api_error
from headrace.client.models import Ended, Forked, LiveVersion, Replay, Run, RunPage, Started

T = TypeVar("T")
TIMEOUT_S: Final = 30.0
LONGEST_WAIT_S: Final = 30.0  # of one request; a longer wait is several, since proxies cut what is silent for a minute


class RunOptions(TypedDict, total=False):
    """What a run is asked for with, beside its agent. One of ``input`` (for the agent's input schema) and ``prompt``."""

    input: Any
    prompt: str
    version: str
    session_id: str
    double_texting: Literal["enqueue", "reject", "interrupt"]  # while its session is busy; default: as the agent says
    user_id: str
    idempotency_key: str
    stream_tokens: bool  # so that ``stream(..., tokens=True)`` has what the model writes


class ForkOptions(TypedDict, total=False):
    """Where a fork leaves its run (``at``: a model turn, 0 for the job), and what is changed there."""

    at: int
    input: Any
    prompt: str
    version: str
    tool_results: Mapping[str, Any]  # by call id
    replay_id: str
    dry_run: bool


class RollbackOptions(TypedDict, total=False):
    """``base_revision``: the revision that this was decided by; it raises ``Conflict`` if another one is there."""

    reason: str
    base_revision: int


class PromoteOptions(RollbackOptions, total=False):
    canary_percent: float  # only for this share of the keys: above 0, below 100


ReplayKind = Literal["shadow", "rerun", "bulk_rerun", "bulk_cancel", "reprice", "rebuild", "swap", "drop", "redrive"]


class ReplayOptions(TypedDict, total=False):
    """What ``POST /v1/replays`` takes, each kind some of it; ``start`` and ``end`` are its ``from`` and ``to``. Times are ISO 8601
    with an offset.
    """

    replay_id: str
    dry_run: bool
    confirm: bool
    agent: str
    since: str
    version: str
    definition: Mapping[str, Any]
    model: str
    prompt: str
    start: str
    end: str
    follow: bool
    follow_after_s: float
    where: str
    session: str
    sample: float
    baseline: float
    on_miss: Literal["fail", "stub", "live-readonly"]
    evaluators: Sequence[Mapping[str, Any]]
    max_cost_usd: float
    max_in_flight: int
    outcome: str
    state: Literal["pending", "running", "completed", "failed"]
    limit: int
    rate: float
    until: str
    prices: Mapping[str, Mapping[str, float]]
    index: str
    patience_s: float
    service: str
    entries: Sequence[str]
    edit: Any


class RunFilters(TypedDict, total=False):
    agent: str
    state: Literal["pending", "running", "completed", "failed"]
    event_type: str
    session_id: str
    user_id: str
    limit: int  # of one page: 1 to 200


class PageOptions(RunFilters, total=False):
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """``timeout_s``: longest silence of the connection."""

    method: str
    path: str
    read: Callable[[httpx2.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    timeout_s: float = TIMEOUT_S

    def arguments(self) -> dict[str, Any]:
        """For a client's ``request``."""
        given = {"method": self.method, "url": self.path, "timeout": self.timeout_s}
        return given | {"params": known(self.params), "json": self.body}

    def result(self, response: httpx2.Response) -> T:
        """Raises ``ApiError``."""
        if not response.is_success:
            raise api_error(response)
        try:
            return self.read(response)
        except (ValueError, KeyError, TypeError):  # msgspec's errors are ValueErrors
            message = "not an answer of this API: is that the gateway's address?"
            raise ApiError(response.status_code, "unexpected_answer", message, None, None) from None


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def ask(prompt: str) -> Call[str]:
    return Call("POST", "/agent", lambda r: str(r.json()["response"]), body={"prompt": prompt}, timeout_s=90.0)


def start(agent: str, wait_s: float = 0.0, **request: Unpack[RunOptions]) -> Call[Started | Ended]:
    params = {"wait": wait_s} if wait_s else {}
    body = {"agent": agent, **known(request)}
    return Call("POST", "/v1/runs", _started, params, body, timeout_s=TIMEOUT_S + wait_s)


def _started(response: httpx2.Response) -> Started | Ended:
    kind: Any = Ended if response.status_code == 200 else Started
    made: Started | Ended = msgspec.convert(response.json(), kind)
    return made


def get(run_id: str, wait_s: float = 0.0) -> Call[Run]:
    params = {"wait": wait_s} if wait_s else {}
    return Call("GET", f"/v1/runs/{part(run_id)}", _as(Run), params, timeout_s=TIMEOUT_S + wait_s)


def runs(**filters: Unpack[PageOptions]) -> Call[RunPage]:
    return Call("GET", "/v1/runs", _as(RunPage), filters)


def cancel(run_id: str) -> Call[Started]:
    return Call("POST", f"/v1/runs/{part(run_id)}/cancel", _as(Started))


def fork(run_id: str, **request: Unpack[ForkOptions]) -> Call[Forked]:
    return Call("POST", f"/v1/runs/{part(run_id)}/fork", _as(Forked), body=known(request))


def diff(run_id: str, other: str) -> Call[dict[str, Any]]:
    return Call("GET", f"/v1/runs/{part(run_id)}/diff/{part(other)}", _as(dict[str, Any]))


def horizon(agent: str | None, since: str | None, until: str | None) -> Call[dict[str, Any]]:
    return Call("GET", "/v1/horizon", _as(dict[str, Any]), {"agent": agent, "since": since, "until": until})


def promote(name: str, version: str, **request: Unpack[PromoteOptions]) -> Call[LiveVersion]:
    body = {"version": version, **known(request)}
    return Call("POST", f"/v1/agents/{part(name)}:promote", _as(LiveVersion), body=body)


def rollback(name: str, **request: Unpack[RollbackOptions]) -> Call[LiveVersion]:
    return Call("POST", f"/v1/agents/{part(name)}:rollback", _as(LiveVersion), body=known(request))


def replay(kind: ReplayKind, **request: Unpack[ReplayOptions]) -> Call[Replay]:
    given: dict[str, Any] = {"kind": kind, **known(request)}
    body = {{"start": "from", "end": "to"}.get(name, name): value for name, value in given.items()}
    return Call("POST", "/v1/replays", _as(Replay), body=body)


def get_replay(replay_id: str) -> Call[Replay]:
    return Call("GET", f"/v1/replays/{part(replay_id)}", _as(Replay))


def replays(state: str | None = None, limit: int | None = None) -> Call[list[Replay]]:
    params = {"state": state, "limit": limit}
    return Call("GET", "/v1/replays", lambda r: msgspec.convert(r.json()["replays"], list[Replay]), params)


def replay_report(replay_id: str) -> Call[dict[str, Any]]:
    return Call("GET", f"/v1/replays/{part(replay_id)}/report", _as(dict[str, Any]))


def move_replay(replay_id: str, said: Literal["cancel", "resume", "swap", "drop"]) -> Call[Replay]:
    return Call("POST", f"/v1/replays/{part(replay_id)}:{said}", _as(Replay))


def events_path(run_id: str, *, tokens: bool) -> str:
    """Of a run's event stream."""
    return f"/v1/runs/{part(run_id)}/events" + ("?tokens=true" if tokens else "")


def result(url: str) -> Call[Any]:
    """What a result's reference or URL stands for: an artifact's data, or the content itself."""
    ref = url.removeprefix("/v1/results/").removeprefix("artifact://").removeprefix("cas://")
    whole = ref.startswith("sha256:")
    return Call("GET", f"/v1/results/{part(ref)}", lambda r: _content(r) if whole else r.json()["data"])


def _content(response: httpx2.Response) -> Any:
    return response.json() if response.headers.get("content-type") == "application/json" else response.content


def part(text: str) -> str:
    """``text`` as one part of a path, whatever is in it."""
    return quote(text, safe="")


def _as(kind: type[T]) -> Callable[[httpx2.Response], T]:
    return lambda response: msgspec.convert(response.json(), kind)

"""What a run asked the world, answered from its records: its model, the clock, its definition, gates and cancellations.

The answer is always that of the stretch at hand. Whatever a reasoner asks that the records do not answer raises ``Unrecorded``:
code that asks more than the code that wrote the records has diverged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from headrace.blobs import BlobStore
from headrace.budgets.spending import BudgetExhausted
from headrace.control.cancellations import CancelledRuns, Name
from headrace.control.session_queue import Arrival
from headrace.history.chain import Chain, Stretch
from headrace.messages import ids
from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import BadMessage, DependencyUnavailable, HeadraceError
from headrace.messages.job import Job
from headrace.messages.result import AgentResult, ResultError
from headrace.messages.run import AgentRef, DoubleTexting, RunInfo, SessionState, ToolCall, ToolCalls, Turn
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.reasoning.admission import NO_MODEL, Admitted
from headrace.reasoning.agents import Definitions
from headrace.reasoning.frameworks import Turn as FrameworkTurn
from headrace.reasoning.limits import CANCELLED
from headrace.reasoning.transcript import Transcripts
from headrace.toolspecs import Spec

_MODEL_ERROR: Final = "model_error"
_SESSION_BUSY: Final = "session_busy"
_BUDGET: Final = "budget_exhausted"
_DECIDED: Final = frozenset(  # by reasoning itself, from what is recorded
    {
        "invalid_definition",
        "invalid_input",
        "unknown_agent",
        "definition_changed",
        "timeout",
        _MODEL_ERROR,
        _SESSION_BUSY,
        _BUDGET,
        CANCELLED.type,
    }
)


class Unrecorded(HeadraceError):
    """The reasoner asks for what the records do not hold."""


class NotFetched(DependencyUnavailable):
    """A blob has to be fetched first; then the run is begun again."""


class Overlay:
    """A ``BlobStore`` that never leaves memory: reads are of ``known``, writes are kept here and go with it.

    ``known`` has the error in place of a blob that can't be had. ``missing`` collects what was asked for and is not there.
    """

    def __init__(self, known: Mapping[str, bytes | BadMessage]) -> None:
        self._known = known
        self._put: dict[str, bytes] = {}
        self.missing: set[str] = set()

    async def put(self, data: bytes) -> str:
        ref = ids.content_ref(data)
        self._put[ref] = data
        return ref

    async def get(self, ref: str) -> bytes:
        data = self._put.get(ref) or self._known.get(ref)
        if isinstance(data, BadMessage):
            raise data
        if data is None:
            self.missing.add(ref)
            raise NotFetched(f"{ref} is not fetched yet")
        return data


class Recording:
    """The ports of one run's re-run, with the tools that the mesh has today. Call ``turn_to`` before each stretch."""

    def __init__(self, chain: Chain, catalog: Definitions, tools: KnownTools, blobs: BlobStore) -> None:
        self._catalog = catalog
        self._transcripts = Transcripts(blobs)
        self._agent = _agent_of(chain)
        self._model = _model_of(chain)
        self._stretch = chain.stretches[0]
        self._taken = 0
        self.specs = tools.as_asked_for(chain)
        self.cancelled = _RecordedCancellation(self._is_cancelled)

    def turn_to(self, stretch: Stretch) -> None:
        self._stretch, self._taken = stretch, 0

    # --- time ------------------------------------------------------------------------------------------------------------

    def clock(self) -> int:
        """The time that counted: the end of the run once its last turn is taken; before that, a time within the deadline."""
        output = self._stretch.output
        if isinstance(output, ToolCalls):
            return output.run.started_ms
        return output.completed_ms if self._taken == len(output.turns) else output.started_ms

    # --- the model ---------------------------------------------------------------------------------------------------------

    def resolve(self, _spec: str) -> str:
        """Raises the recorded ``ModelError`` of a run whose model could not be told."""
        if self._model == NO_MODEL and (error := self._error) is not None and error.type == _MODEL_ERROR:
            raise _model_error(error)
        return self._model

    async def complete(self, _spec: str, _request: ModelRequest) -> ModelReply:
        turns = self._stretch.output.turns
        if self._taken < len(turns):
            turn = await self._transcripts.unpack_turn(turns[self._taken])
            self._taken += 1
            return _reply(turn)
        if (error := self._error) is not None and error.type == _MODEL_ERROR:
            raise _model_error(error)
        if error is not None and error.type == _BUDGET:
            raise BudgetExhausted(error)
        raise Unrecorded(f"a further turn of the model is asked for; {len(turns)} led to {self._stretch.led_to.source}")

    async def take(self, turn: FrameworkTurn) -> ModelReply:
        """As any framework: its turns are recorded like a model's."""
        return await self.complete(turn.run.model, turn.request)

    # --- the definition ------------------------------------------------------------------------------------------------------

    def live(self, name: str, key: str | None = None) -> AgentDefinition | None:
        """The version that the run took, whichever is live today, and for which keys."""
        if self._agent.version and self._agent.name == name:
            return self.get(name, self._agent.version)
        return None if self._was_unknown else self._catalog.live(name, key)

    def get(self, name: str, version: str) -> AgentDefinition | None:
        return None if self._was_unknown else self._catalog.get(name, version)

    # --- what else stopped it ------------------------------------------------------------------------------------------------

    async def check(self, _job: Job, _admitted: Admitted) -> ResultError | None:
        """As a gate: what refused the run at admission, if that was none of reasoning's own reasons."""
        error, output = self._error, self._stretch.output
        if error is None or error.type in _DECIDED or error.type.startswith("limit_"):
            return None
        return error if isinstance(output, AgentResult) and not output.turns and output.steps == 0 else None

    # --- the session ---------------------------------------------------------------------------------------------------------

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        raise AssertionError(f"a re-run takes no place in a session, {len(arrivals)} asked")

    async def begin(self, _run: RunInfo, _policy: DoubleTexting, _now_ms: int) -> SessionState | ResultError | None:
        """The session as the run found it, or why its turn never came."""
        output, error = self._stretch.output, self._error
        if isinstance(output, ToolCalls):
            return output.run.session
        if output.session is not None:
            return output.session.found
        return error if error is not None and error.type in (_SESSION_BUSY, CANCELLED.type) else None

    def _is_cancelled(self) -> bool:
        over = self._taken == len(self._stretch.output.turns)
        return over and self._error is not None and self._error.type == CANCELLED.type

    @property
    def _error(self) -> ResultError | None:
        output = self._stretch.output
        return output.error if isinstance(output, AgentResult) else None

    @property
    def _was_unknown(self) -> bool:
        return self._error is not None and self._error.type == "unknown_agent"


class _RecordedCancellation(CancelledRuns):
    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        super().__init__()
        self._is_cancelled = is_cancelled

    def __contains__(self, name: Name) -> bool:
        return self._is_cancelled()


def _agent_of(chain: Chain) -> AgentRef:
    output = chain.stretches[0].output
    if isinstance(output, ToolCalls):
        return output.run.agent
    return AgentRef(
        name=output.agent_name,
        version=output.agent_version,
        definition_hash=output.definition_hash,
        prompt_hash=output.prompt_hash,
    )


class KnownTools:
    """Tools as they are today, in the versions that a run asked for: a later version of a tool is no other decision."""

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._specs = specs
        self._in_versions = lru_cache(maxsize=64)(self._made)

    def as_asked_for(self, chain: Chain) -> Mapping[str, Spec]:
        """The same object for the same versions, so that what is made of it can be kept."""
        outputs = [stretch.output for stretch in chain.stretches]
        calls = [call for output in outputs if isinstance(output, ToolCalls) for call in output.calls]
        other = {call.tool: call.tool_version for call in calls if self._is_other(call)}
        return self._in_versions(frozenset(other.items())) if other else self._specs

    def _is_other(self, call: ToolCall) -> bool:
        return call.tool in self._specs and self._specs[call.tool].version != call.tool_version

    def _made(self, versions: frozenset[tuple[str, str]]) -> Mapping[str, Spec]:
        return {**self._specs, **{tool: replace(self._specs[tool], version=version) for tool, version in versions}}


def _model_of(chain: Chain) -> str:
    """The resolved model. The result of a run without tool calls names only who answered; it says nothing else of the model."""
    output = chain.stretches[0].output
    return output.run.model if isinstance(output, ToolCalls) else output.metadata.llm_model


def _reply(turn: Turn) -> ModelReply:
    return ModelReply(**{name: getattr(turn, name) for name in ModelReply._fields})


def _model_error(error: ResultError) -> ModelError:
    kind, _, text = error.message.partition(": ")
    return ModelError(text, kind=kind, retryable=error.retryable)

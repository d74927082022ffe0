"""One shadow run from its job to its result, in one go: the real reasoner, the recorded answers, no tool.

What a run has so far is kept while the runtime tries its event again (a blob store that is away), so that no model reply is paid
for twice in this process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from headrace.blobs import BlobStore
from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.base import Message
from headrace.messages.job import Job
from headrace.messages.result import AgentResult, ResultError
from headrace.messages.run import (
    Progress,
    RunInfo,
    ToolCall,
    ToolCalls,
    ToolError,
    ToolOutcome,
    ToolResults,
    Transcript,
)
from headrace.reasoning.admission import CatalogAdmission, Equipment, ResolveModel, run_info
from headrace.reasoning.agents import Agents
from headrace.reasoning.execution import ModelPort, Tools
from headrace.reasoning.ledger import Asked
from headrace.reasoning.machine import EmitResult, Phase, State
from headrace.reasoning.processor import ReasoningProcessor
from headrace.reasoning.results import result_record
from headrace.reasoning.sessions import Sessions
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.transcript import Transcripts
from headrace.replay.shadow.answers import Answers
from headrace.replay.shadow.plan import OnMiss, ShadowPlan
from headrace.replay.shadow.spending import BudgetSpent
from headrace.runtime.api import Context, Source
from headrace.toolspecs import Spec

if TYPE_CHECKING:
    from headrace.replay.shadow.reading import LiveReads

MISS: Final = "replay_tool_miss"
BUDGET: Final = "replay_budget"
_FAILED: Final = "replay_"
_MAX_KEPT: Final = 10_000


def failed_replay(result: AgentResult) -> str | None:
    """Why ``result`` says nothing of the candidate: the replay itself could not go on."""
    error = result.error
    return error.type if error is not None and error.type.startswith(_FAILED) else None


class Definitions:
    """The two definitions of a replay, as a catalogue."""

    def __init__(self, plan: ShadowPlan) -> None:
        self._known = {(one.name, one.version): one for one in (plan.live, plan.candidate)}

    def live(self, _name: str, _key: str | None = None) -> AgentDefinition | None:
        """None: a shadow job names its version."""
        return None

    def get(self, name: str, version: str) -> AgentDefinition | None:
        return self._known.get((name, version))


class ShadowRuns:
    """``clock`` gives epoch milliseconds. ``models`` is asked, and ``reads`` for what was never recorded; nothing else outside."""

    def __init__(
        self,
        plan: ShadowPlan,
        models: ModelPort,
        resolve: ResolveModel,
        answers: Answers,
        blobs: BlobStore,
        settings: ReasoningSettings,
        clock: Callable[[], int],
        specs: Mapping[str, Spec],
        sessions: Sessions | None = None,
        reads: LiveReads | None = None,
        toolsets: Equipment | None = None,
    ) -> None:
        agents = Agents(Definitions(plan), specs)
        tools = Tools(models, blobs, Transcripts(blobs), specs, settings, clock)
        admission = CatalogAdmission(agents, _Nobody(), resolve, toolsets=toolsets)
        self._reasoning = ReasoningProcessor(tools, agents, admission, sessions)
        self._on_miss: OnMiss = plan.on_miss
        self._reads = reads
        self._answers = answers
        self._blobs = blobs
        self._clock = clock
        self._unfinished: OrderedDict[str, list[Message]] = OrderedDict()

    async def run(self, job: Job, definition: AgentDefinition, headers: Mapping[str, str]) -> Sequence[Message]:
        """All its messages in order, the job first and the result last. Raises what reasoning raises."""
        made = self._unfinished.pop(job.job_id, [job])
        try:
            while not isinstance(made[-1], AgentResult):
                made.append(await self._next(made, job, definition, headers))
        except Exception:
            self._unfinished[job.job_id] = made
            while len(self._unfinished) > _MAX_KEPT:
                self._unfinished.popitem(last=False)
            raise
        return made

    async def _next(
        self, made: Sequence[Message], job: Job, definition: AgentDefinition, headers: Mapping[str, str]
    ) -> Message:
        last = made[-1]
        if isinstance(last, ToolCalls):
            return await self._answered(last)
        where = Source(job.job_id, 0, len(made))  # a name for the replies that are paid for
        context = Context(where, headers, self._clock())
        try:
            (send, *_) = await self._reasoning.handle(last, context, "new" if isinstance(last, Job) else None)
        except BudgetSpent as error:
            run = last.run if isinstance(last, ToolResults) else run_info(job, context, definition.ref(), "", Limits())
            so_far = last if isinstance(last, ToolResults) else None
            return await self._failed(run, so_far, ResultError(type=BUDGET, message=str(error)))
        return send.message

    async def _answered(self, calls: ToolCalls) -> ToolResults | AgentResult:
        outcomes: list[ToolOutcome] = []
        for call in calls.calls:
            outcome = self._answers.find(call, calls.run.event_uid) or await self._missed(calls, call)
            if outcome is None:
                text = f"no recorded result for these arguments of {call.tool[:64]}"
                return await self._failed(calls.run, calls, ResultError(type=MISS, message=text, tool=call.tool[:64]))
            outcomes.append(outcome)
        took = sum(outcome.duration_ms for outcome in outcomes)
        progress = calls.progress.replace(
            tool_calls=calls.progress.tool_calls + len(outcomes), tool_ms=calls.progress.tool_ms + took
        )
        return ToolResults(run=calls.run, progress=progress, transcript=calls.transcript, results=tuple(outcomes))

    async def _missed(self, calls: ToolCalls, call: ToolCall) -> ToolOutcome | None:
        """What stands in for a result that was never recorded, if anything may."""
        if self._reads is not None:
            return await self._reads.ask(calls, call)
        if self._on_miss == "fail":
            return None
        error = ToolError(type="not_recorded", message="there is no recorded result of this call")
        return ToolOutcome(
            call_id=call.call_id, tool=call.tool, tool_version=call.tool_version, status="error", error=error
        )

    async def _failed(self, run: RunInfo, so_far: ToolCalls | ToolResults | None, error: ResultError) -> AgentResult:
        progress = so_far.progress if so_far else Progress()
        transcript = so_far.transcript if so_far else Transcript()
        turns = so_far.turns if isinstance(so_far, ToolCalls) else ()
        state = State(Phase.DONE, run, Limits(), progress, turns)
        return await result_record(state, transcript, EmitResult(self._clock(), error=error), (), self._blobs)


class _Nobody:
    """A ledger that is never asked: the offsets of the replay's group say what is done."""

    async def begin_all(self, asked: Sequence[Asked]) -> Sequence[Any]:
        raise AssertionError(f"a shadow run claims nothing, {len(asked)} asked")

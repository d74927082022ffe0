"""``headrace replay shadow``"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import asyncpg
import orjson
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.cli.output import Exit, note, print_json, stop
from headrace.cli.replay_evaluators import evaluators_of, gates_hold
from headrace.cli.replay_shadow_view import show_forecast, show_report
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.messages.agent import AgentDefinition
from headrace.models import ModelError
from headrace.models.resolve import resolve
from headrace.models.settings import ModelSettings
from headrace.postgres.pool import open_pool
from headrace.registry.catalog import Catalog
from headrace.registry.load import InvalidDefinition, load_file
from headrace.registry.read import read_catalog
from headrace.replay.shadow.estimate import Estimate, estimate
from headrace.replay.shadow.job import ShadowJob, open_job, results_from
from headrace.replay.shadow.page import page
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan, changed, check_expression
from headrace.replay.shadow.range import Forecast, settle_range
from headrace.replay.shadow.replays import NameTaken, Replays
from headrace.replay.shadow.report import report
from headrace.replay.start import AtTime, Earliest, OutOfRange, parse_time
from headrace.settings import MeshSettings

T = TypeVar("T")
_NOWHERE = Target()
Flag = Annotated[bool, Parameter(negative=())]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]


@Parameter(name="*")
@dataclass(frozen=True)
class Candidate:
    """What is tried in place of the live version."""

    version: str | None = None
    "A published version."
    definition: Path | None = None
    "A definition file; it need not be published."
    model: str | None = None
    "The same with this model, such as anthropic:NAME, openai:NAME or offline."
    prompt: Path | None = None
    "The same with the system prompt of this file."


@Parameter(name="*")
@dataclass(frozen=True)
class Choice:
    """Which events, and what may be done for them."""

    from_: Annotated[str | None, Parameter(name="--from")] = None
    "Events from this ISO 8601 time on; UTC if it names no offset. Default: the oldest that are there."
    to: str | None = None
    "Events before this time. Default: now."
    where: str | None = None
    "Only events for which this JMESPath expression is true, as in a trigger's filter."
    session: str | None = None
    "JMESPath that gives an event's session: its turns go on from those of the events before it. Default: each stands alone."
    sample: Share = 1.0
    "Share of these events, or of their sessions, always the same ones."
    baseline: Share = 0.1
    "Share of the sample over which the unchanged version is run too, for its own noise."
    on_miss: Literal["fail", "stub", "live-readonly"] = "fail"
    "A call that no live run made: its run fails, its model is told that there is no result, or what only reads is asked now."
    evaluators: Path | None = None
    "A YAML file that says what answers are held to."
    fail_under: tuple[str, ...] = ()
    "NAME=SHARE: exit with 5 if fewer of the candidate's answers pass the evaluator of that name. May be said again."
    max_cost: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0
    "US dollars that the replay's model calls may cost. When they are spent, the remaining runs fail."
    max_in_flight: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 32
    "Runs at a time."


_SAME = Candidate()
_ALL = Choice()


def shadow(
    *,
    agent: str | None = None,
    candidate: Candidate = _SAME,
    choice: Choice = _ALL,
    outcome: str | None = None,
    name: str | None = None,
    resume: str | None = None,
    out: Path = Path(),
    dry_run: Flag = False,
    yes: Flag = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Reason a range of real events again by another version, model or prompt, beside the mesh, and compare with what was live.

    Every event of the range counts, also one whose live run was skipped or crashed. Tools answer from what they gave to the live
    runs, and are not called unless --on-miss says so. Only topics named shadow.* are written. Interrupted, it goes on with
    --resume. Exits with 5 if an event is not accounted for, or an evaluator passes fewer answers than it has to.

    Example: `headrace replay shadow --agent pr-risk-reviewer --version 2.0.0 --from 2026-11-01`

    Parameters
    ----------
    agent
        Whose live version is compared with.
    outcome
        The field of the output that is the outcome; default: the first one with a closed set of values.
    name
        A name for the replay, of small letters, digits and -.
    resume
        Go on with the replay of this name.
    out
        Folder for the report, NAME.html and NAME.json.
    dry_run
        Only say what would be replayed, and about what it costs.
    yes
        Make paid model calls without asking further.
    json
        Print the report as JSON.
    """
    if (agent is None) == (resume is None):
        raise stop("say --agent, or --resume with the name of a replay", 2)
    settings = target.settings()
    work = _Work(settings, outcome, out, dry_run=dry_run, yes=yes, json=json)
    try:
        complete = run_async(work.resumed(resume) if resume else work.begun(agent or "", candidate, choice, name))
    except (InvalidPlan, OutOfRange, NameTaken) as error:
        raise stop(str(error), 2) from None
    if not complete:
        raise Exit(5)


class _Work:
    def __init__(
        self, settings: MeshSettings, outcome: str | None, out: Path, *, dry_run: bool, yes: bool, json: bool
    ) -> None:
        self._settings = settings
        self._outcome = outcome
        self._out = out
        self._dry_run, self._yes, self._json = dry_run, yes, json

    async def begun(self, agent: str, candidate: Candidate, choice: Choice, name: str | None) -> bool:
        """A new replay; whether every event is accounted for."""
        live, tried = _definitions(await read_catalog(self._settings), agent, candidate)
        plan = await asyncio.to_thread(_plan, self._settings, live, tried, choice, name)
        async with (
            open_pool(self._settings, min_size=1, max_size=4, service="headrace-replay") as pool,
            open_job(self._settings, plan, pool) as job,
        ):
            expected = await job.forecast()
            about = await estimate(pool, plan, expected, _resolved)
            self._told(plan, expected, about)
            if self._dry_run:
                return True
            self._confirmed(plan, about)
            await Replays(pool).begin(plan)
            return await self._done(job, expected, pool)

    async def resumed(self, name: str) -> bool:
        """A replay that was begun; the rest of it."""
        async with open_pool(self._settings, min_size=1, max_size=4, service="headrace-replay") as pool:
            plan = await Replays(pool).plan(self._settings.tenant, name)
            if plan is None:
                raise stop(f"no replay {name}", 4)
            async with open_job(self._settings, plan, pool) as job:
                return await self._done(job, await job.forecast(), pool)

    async def _done(self, job: ShadowJob, expected: Forecast, pool: asyncpg.Pool) -> bool:
        with Progress(
            TextColumn("replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("${task.fields[spent]:.4f}"),
            TimeRemainingColumn(),
            console=Terminal(stderr=True),
            transient=True,
        ) as bars:
            task = bars.add_task("", total=expected.total, spent=0.0)
            await job.run(expected, lambda passed, spent: bars.update(task, completed=passed, spent=spent), by=who())
        account = await job.account()
        facts = report(job.plan, account, self._outcome)
        await Replays(pool).finish(job.plan, facts)
        self._write(job.plan, facts)
        return account.complete and gates_hold(facts)

    def _told(self, plan: ShadowPlan, expected: Forecast, about: Estimate) -> None:
        if self._dry_run and self._json:
            print_json({"replay": plan.replay_id, **expected.facts(), **about._asdict()})
        else:
            show_forecast(plan, expected, about, data=self._dry_run)

    def _confirmed(self, plan: ShadowPlan, about: Estimate) -> None:
        """Ends the command where paid calls are not agreed to, or would cost more than they may."""
        if about.cost_usd > plan.max_cost_usd:
            raise stop(
                f"about ${about.cost_usd:.4f} is more than --max-cost ${plan.max_cost_usd:g}: raise it, or take a smaller --sample",
                2,
            )
        if about.paid and not self._yes:
            raise stop(
                f"this asks {about.paid}, about ${about.cost_usd:.4f}: say --yes to go on; nothing was asked yet", 2
            )

    def _write(self, plan: ShadowPlan, facts: dict[str, Any]) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        html, data = self._out / f"{plan.replay_id}.html", self._out / f"{plan.replay_id}.json"
        html.write_text(page(facts), encoding="utf-8")
        data.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        if self._json:
            print_json(facts)
        else:
            show_report(facts)
        note(f"report: {html}, {data}")


def _plan(
    settings: MeshSettings, live: AgentDefinition, candidate: AgentDefinition, choice: Choice, name: str | None
) -> ShadowPlan:
    now_ms = time.time_ns() // 1_000_000
    start = parse_time(choice.from_) if choice.from_ else Earliest()
    end_ms = parse_time(choice.to).timestamp_ms if choice.to else None
    check_expression("--where", choice.where)
    check_expression("--session", choice.session)
    evaluators = evaluators_of(choice.evaluators, choice.fail_under)
    return ShadowPlan.settled(
        replay_id=name or f"replay-{uuid.uuid4().hex[:10]}",
        tenant=settings.tenant,
        from_ms=start.timestamp_ms if isinstance(start, AtTime) else 0,
        to_ms=end_ms or now_ms,
        ranges=settle_range(settings, start, end_ms),
        live=live,
        candidate=candidate,
        on_miss=choice.on_miss,
        sample=choice.sample,
        baseline=choice.baseline,
        cohort=choice.where,
        max_cost_usd=choice.max_cost,
        max_in_flight=choice.max_in_flight,
        results_from=results_from(settings),
        evaluators=evaluators,
        session=choice.session,
    )


def _definitions(catalog: Catalog, agent: str, candidate: Candidate) -> tuple[AgentDefinition, AgentDefinition]:
    """The live definition and the one that is tried."""
    live = catalog.live(agent)
    if live is None:
        raise stop(f"no agent {agent} is live: `headrace agents list` shows those that are", 4)
    if candidate.version and candidate.definition:
        raise stop("either --version or --definition", 2)
    other = None
    if candidate.version and (other := catalog.get(agent, candidate.version)) is None:
        raise stop(f"no version {candidate.version} of {agent}: `headrace agents show {agent}` lists them", 4)
    if candidate.definition:
        other = _loaded(load_file, candidate.definition)
    prompt = _loaded(_text_of, candidate.prompt) if candidate.prompt else None
    return live, changed(live, other, model=candidate.model, prompt=prompt)


def _loaded(load: Callable[[Path], T], path: Path) -> T:
    try:
        return load(path)
    except (InvalidDefinition, OSError, UnicodeDecodeError) as error:
        raise stop(f"{path}: {error}", 2) from None


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _resolved(spec: str) -> str:
    """The model that this process would ask for ``spec``."""
    try:
        return resolve(spec, ModelSettings())
    except ModelError as error:
        raise InvalidPlan(f"model {spec[:80]}: {error}") from None

"""``headrace replay shadow``"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import Exit, stop
from headrace.cli.replay_evaluators import evaluators_of
from headrace.cli.replay_shadow_work import Asked, Work
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.control.replays.requests import ShadowRequest, request_of
from headrace.control.replays.store import CantMove, ReplayTaken
from headrace.registry.candidate import InvalidCandidate
from headrace.registry.load import InvalidDefinition, load_file
from headrace.replay.jobs.settle import UnknownAgent, time_of
from headrace.replay.shadow.plan import InvalidPlan
from headrace.replay.start import OutOfRange, parse_time

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
    follow: Annotated[bool, Parameter(negative=())] = False
    "Go on with the live tail until Ctrl-C; the report is made anew now and then."
    until: str | None = None
    "With --follow: up to this time."
    follow_after: Annotated[float, Parameter(validator=Number(gte=0, lte=3600))] = 30.0
    "With --follow: seconds after which the live run of an event is over."
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
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
    detach: Flag = False,
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
    workers
        Processes that share the work; each has up to --max-in-flight runs at a time, all together one --max-cost.
    detach
        Hand it to the service `replay`, and return: `headrace replay watch NAME` shows it.
    dry_run
        Only say what would be replayed, and about what it costs.
    yes
        Make paid model calls without asking further.
    json
        Print the report as JSON.
    """
    if (agent is None) == (resume is None):
        raise stop("say --agent, or --resume with the name of a replay", 2)
    asked = Asked(outcome, out, dry_run=dry_run, yes=yes, json=json, workers=workers)
    try:
        request = None if agent is None else _request(agent, candidate, choice, asked, name)
        work = Work(target.settings(), asked)
        if request is None:
            complete = run_async(work.resumed(resume or ""))
        else:
            complete = run_async(work.detached(request) if detach else work.begun(request))
    except UnknownAgent as error:
        raise stop(str(error), 4) from None
    except (InvalidPlan, InvalidCandidate, OutOfRange, ReplayTaken, CantMove) as error:
        raise stop(str(error), 2) from None
    if not complete:
        raise Exit(5)


def _request(agent: str, candidate: Candidate, choice: Choice, asked: Asked, name: str | None) -> ShadowRequest:
    """What is asked for, as the API would be. Raises ``InvalidPlan``, ``OutOfRange``."""
    if (choice.follow and choice.to) or (choice.until and not choice.follow):
        raise stop("--until is for --follow, and --to for a range", 2)
    end = choice.until or choice.to
    definition = _loaded(load_file, candidate.definition) if candidate.definition else None
    made = ShadowRequest(
        replay_id=name,
        dry_run=asked.dry_run,
        confirm=asked.yes,
        agent=agent,
        version=candidate.version,
        definition=definition.plain() if definition else None,
        model=candidate.model,
        prompt=_loaded(_text_of, candidate.prompt) if candidate.prompt else None,
        from_=time_of(parse_time(choice.from_).timestamp_ms) if choice.from_ else None,
        to=time_of(parse_time(end).timestamp_ms) if end else None,
        follow=choice.follow,
        follow_after_s=choice.follow_after,
        where=choice.where,
        session=choice.session,
        evaluators=[msgspec.to_builtins(one) for one in evaluators_of(choice.evaluators, choice.fail_under)],
        sample=choice.sample,
        baseline=choice.baseline,
        on_miss=choice.on_miss,
        max_cost_usd=choice.max_cost,
        max_in_flight=choice.max_in_flight,
        outcome=asked.outcome,
    )
    try:
        checked = request_of(msgspec.to_builtins(made))
    except msgspec.ValidationError as error:
        raise InvalidPlan(str(error)) from None
    assert isinstance(checked, ShadowRequest), "it says its kind"
    return checked


def _loaded(load: Callable[[Path], T], path: Path) -> T:
    try:
        return load(path)
    except (InvalidDefinition, OSError, UnicodeDecodeError) as error:
        raise stop(f"{path}: {error}", 2) from None


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")

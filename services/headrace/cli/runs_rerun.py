"""``headrace runs rerun``, and ``headrace runs cancel`` of one run or of many."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.asking import asking
from headrace.cli.output import print_json, stop
from headrace.cli.runs_bulk import Choice, chosen, settle
from headrace.cli.target import JsonFlag, Target
from headrace.index.views import RunView

_NOWHERE = Target()
_OVER = ("completed", "failed")
Limit = Annotated[int | None, Parameter(validator=Number(gte=1))]
Rate = Annotated[float, Parameter(validator=Number(gt=0, lte=1_000))]
Flag = Annotated[bool, Parameter(negative=())]


def rerun(
    *,
    where: str | None = None,
    since: str | None = None,
    agent: str | None = None,
    state: Literal["completed", "failed"] | None = None,
    limit: Limit = None,
    rate: Rate = 10.0,
    version: str | None = None,
    replay: str | None = None,
    dry_run: Flag = False,
    yes: Flag = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Begin the jobs of runs that have ended once more, live: new runs under one replay id, each of which names the run it is of.

    Given again with the same `--replay`, it begins none of them twice. Runs of sub-agents are left to their parents. Exits with 1
    if a run can't be begun again.

    Example: `headrace runs rerun --agent pr-risk-reviewer --state failed --where "error.type == 'model_error'" --dry-run`

    Parameters
    ----------
    where
        A JMESPath expression over a run, as `headrace runs show --json` prints it.
    since
        Only runs that were created since this ISO 8601 time, or within a span such as 7d.
    agent
        Only of this agent.
    state
        Only in this state.
    limit
        At most so many, the oldest first.
    rate
        So many a second.
    version
        Of the agent; default: the version that each run took.
    replay
        The replay id; default: a new one, which is printed.
    dry_run
        Only count them.
    yes
        Do it.
    json
        Print JSON.
    """
    choice = Choice(where, since, agent, state, limit)
    _narrow(choice)
    name = replay or f"rerun-{uuid.uuid4().hex[:10]}"
    runs = chosen(
        target, choice, lambda run: run.state in _OVER and run.parent_run_id is None and run.replay_id != name
    )
    from headrace.client import Client

    with asking(), Client(target.gateway_url()) as client:

        def again(run: RunView) -> None:
            if version is None:
                client.fork(run.run_id, replay_id=name)
            else:
                client.fork(run.run_id, replay_id=name, version=version)

        settle(runs, again, verb="rerun", rate=rate, say=(dry_run, yes, json), about={"replay_id": name})


def cancel(
    run: str | None = None,
    *,
    where: str | None = None,
    since: str | None = None,
    agent: str | None = None,
    state: Literal["pending", "running"] | None = None,
    limit: Limit = None,
    rate: Rate = 10.0,
    dry_run: Flag = False,
    yes: Flag = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Ask that a run ends, or all that fit. Each ends as failed, with the error `cancelled`, unless its answer is there first.

    Exits with 4 if there is no such run, with 1 if it has ended.

    Example: `headrace runs cancel --agent pr-risk-reviewer --where "state == 'pending'" --dry-run`

    Parameters
    ----------
    run
        Run id; without one, say which runs.
    where
        A JMESPath expression over a run, as `headrace runs show --json` prints it.
    since
        Only runs that were created since this ISO 8601 time, or within a span such as 7d.
    agent
        Only of this agent.
    state
        Only in this state.
    limit
        At most so many, the oldest first.
    rate
        So many a second.
    dry_run
        Only count them.
    yes
        Do it.
    json
        Print JSON.
    """
    from headrace.client import Client

    choice = Choice(where, since, agent, state, limit)
    if run is not None:
        if choice.given or limit is not None or dry_run:
            raise stop("name one run, or say which runs, not both", 2)
        with asking(), Client(target.gateway_url()) as client:
            client.cancel(run)
        if json:
            print_json({"run_id": run, "asked": True})
        else:
            print(f"asked; `headrace runs show {run}` tells how it ended")
        return
    _narrow(choice)
    runs = chosen(target, choice, lambda one: one.state not in _OVER)
    with asking(), Client(target.gateway_url()) as client:
        settle(
            runs, lambda one: client.cancel(one.run_id), verb="cancel", rate=rate, say=(dry_run, yes, json), about={}
        )


def _narrow(choice: Choice) -> None:
    """All runs of a mesh are seldom meant."""
    if not choice.given:
        raise stop("say which runs: --where, --since, --agent or --state", 2)

"""``headrace runs rerun``, and ``headrace runs cancel`` of one run or of many."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.asking import asking
from headrace.cli.output import print_json, stop
from headrace.cli.replay_detached import detach as detached
from headrace.cli.runs_bulk import runs_of, settle
from headrace.cli.since import since_of
from headrace.cli.target import JsonFlag, Target
from headrace.index.choice import Choice, Chosen, to_rerun, under_way

_NOWHERE = Target()
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
    detach: Flag = False,
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
    detach
        Hand it to the service `replay`, and return: `headrace replay watch NAME` shows it. Without --yes it is only planned.
    dry_run
        Only count them.
    yes
        Do it.
    json
        Print JSON.
    """
    choice = Choice(where, since_of(since), agent, state, limit)
    _narrow(choice)
    name = replay or f"rerun-{uuid.uuid4().hex[:10]}"
    if detach:
        how = {"replay_id": name, "version": version, "rate": rate, "dry_run": dry_run, "confirm": yes}
        detached(target, "bulk_rerun", json=json, **asdict(choice), **how)
        return
    runs = runs_of(target, choice, to_rerun(name))
    from headrace.client import Client

    with asking(), Client(target.gateway_url()) as client:

        def again(run: Chosen) -> None:
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
    detach: Flag = False,
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
    detach
        Hand it to the service `replay`, and return: `headrace replay watch NAME` shows it. Without --yes it is only planned.
    dry_run
        Only count them.
    yes
        Do it.
    json
        Print JSON.
    """
    from headrace.client import Client

    choice = Choice(where, since_of(since), agent, state, limit)
    if run is not None:
        if choice.given or limit is not None or dry_run or detach:
            raise stop("name one run, or say which runs, not both", 2)
        with asking(), Client(target.gateway_url()) as client:
            client.cancel(run)
        if json:
            print_json({"run_id": run, "asked": True})
        else:
            print(f"asked; `headrace runs show {run}` tells how it ended")
        return
    _narrow(choice)
    if detach:
        detached(target, "bulk_cancel", json=json, **asdict(choice), rate=rate, dry_run=dry_run, confirm=yes)
        return
    runs = runs_of(target, choice, under_way)
    with asking(), Client(target.gateway_url()) as client:
        settle(
            runs, lambda one: client.cancel(one.run_id), verb="cancel", rate=rate, say=(dry_run, yes, json), about={}
        )


def _narrow(choice: Choice) -> None:
    """All runs of a mesh are seldom meant."""
    if not choice.given:
        raise stop("say which runs: --where, --since, --agent or --state", 2)

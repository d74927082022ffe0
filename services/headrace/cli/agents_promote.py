"""``headrace agents promote`` and ``rollback``: which version is live. They write the topic of definitions, as publishing does."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.output import print_facts, print_json, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.messages.agent import AgentRecord
from headrace.registry.pointer import CantChange, UnknownAgent, UnknownVersion
from headrace.registry.promote import by, roll_back
from headrace.registry.promote import promote as promote_version

_NOWHERE = Target()
Percent = Annotated[float, Parameter(validator=Number(gt=0, lt=100))]
Revision = Annotated[int, Parameter(validator=Number(gte=0))]


def promote(
    name: str,
    version: str,
    *,
    canary: Percent | None = None,
    reason: str | None = None,
    base: Revision | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Make a published version live: for all keys, or with --canary for a share of them.

    A key is a session, a workflow run, an event's partition key or a single run; which keys a canary gets follows from the key
    alone, so a canary that grows keeps those that it has. Runs in flight keep their version. Exits with 4 if there is no such
    agent or version, with 1 if that can't be made of what is live.

    Example: `headrace agents promote pr-risk-reviewer 2.0.0 --canary 5 --reason "agrees with live on 97 % of last month"`

    Parameters
    ----------
    name
        Name of the agent.
    version
        The version.
    canary
        Percentage of the keys that get it, above 0 and below 100; again with another one to let it grow or shrink.
    reason
        Why, for the record of it.
    base
        The revision that this was decided by: if the agent is at another one, nothing is changed.
    json
        Print JSON.
    """
    _change(promote_version(target.settings(), name, version, by(who(), reason), percent=canary, base=base), json)


def rollback(
    name: str,
    *,
    reason: str | None = None,
    base: Revision | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """End the agent's canary; if there is none, make live again what was live before. Again and it goes back further.

    Runs in flight keep their version. Exits with 4 if there is no such agent, with 1 if nothing was live before.

    Example: `headrace agents rollback pr-risk-reviewer --reason "too many false alarms"`

    Parameters
    ----------
    name
        Name of the agent.
    reason
        Why, for the record of it.
    base
        The revision that this was decided by: if the agent is at another one, nothing is changed.
    json
        Print JSON.
    """
    _change(roll_back(target.settings(), name, by(who(), reason), base=base), json)


def canary_text(pointer: AgentRecord | None) -> str:
    canary = pointer.canary if pointer else None
    return f"{canary.version} for {canary.percent:g} %" if canary else "-"


def standing(pointer: AgentRecord | None) -> str:
    """On one line: what is live, its canary, and what was live before."""
    if pointer is None:
        return "no version is live"
    before = ", ".join(one.version for one in pointer.before)
    canary = f"; canary {canary_text(pointer)} of the keys" if pointer.canary else ""
    earlier = f"; before it: {before}" if before else ""
    return f"live: {pointer.live_version}{canary}{earlier} (revision {pointer.revision})"


def _change(change: Coroutine[Any, Any, AgentRecord], json: bool) -> None:
    try:
        made = run_async(change)
    except CantChange as error:
        raise stop(str(error), 4 if isinstance(error, UnknownAgent | UnknownVersion) else 1) from None
    if json:
        print_json(made.plain())
        return
    facts = {
        "agent": made.name,
        "live": made.live_version,
        "canary": canary_text(made),
        "replaced": made.replaced,
        "reason": made.reason,
        "revision": made.revision,
    }
    print_facts([(name, value) for name, value in facts.items() if value is not None])

"""``headrace runs rerun`` and ``headrace runs cancel --where``: the same for many runs, chosen by what the index says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.cli.asking import asking
from headrace.cli.output import Exit, note, print_facts, print_json, stop
from headrace.cli.target import Target, index_of, run_async
from headrace.index.choice import Choice, Chosen, Wanted, by_agent, chosen
from headrace.registry.filters import InvalidFilter

_ATTEMPTS: Final = 5  # for one run, while the gateway has no room


@dataclass(slots=True)
class Done:
    """What came of each run. ``refused``: run id -> why."""

    done: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def runs_of(target: Target, choice: Choice, wanted: Wanted) -> list[Chosen]:
    """The runs of ``choice`` that are also ``wanted``. Raises ``Exit`` 2 for an expression that is none."""

    async def read() -> list[Chosen]:
        settings = target.settings(kafka=False)
        async with index_of(settings) as index:
            return await chosen(index, settings.tenant, choice, wanted)

    try:
        return run_async(read())
    except InvalidFilter as error:
        raise stop(f"--where: {error}", 2) from None


def settle(
    runs: Sequence[Chosen],
    act: Callable[[Chosen], None],
    *,
    verb: str,
    rate: float,
    say: tuple[bool, bool, bool],
    about: dict[str, Any],
) -> None:
    """``act`` on each run, ``rate`` a second. ``say``: dry run, yes, JSON. Exits with 1 if one was refused, 2 without a yes."""
    dry_run, yes, json = say
    facts = {"runs": len(runs), "agents": by_agent(runs), **about}
    if dry_run or not yes or not runs:
        _print({**facts, "dry_run": True}, json=json)
        if dry_run or not runs:
            return
        raise stop(f"nothing is done: to {verb} {len(runs)} runs, say --yes", 2)
    done = _acted(runs, act, verb, rate)
    _print({**facts, "dry_run": False, "done": done.done, "refused": done.refused}, json=json)
    if done.refused:
        raise Exit(1)


def _acted(runs: Sequence[Chosen], act: Callable[[Chosen], None], verb: str, rate: float) -> Done:
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, began = Done(), time.monotonic()
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=len(runs))
        for number, run in enumerate(runs):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            if why := _refusal(act, run):
                done.refused[run.run_id] = why
            else:
                done.done += 1
            bars.update(task, completed=number + 1)
    return done


def _refusal(act: Callable[[Chosen], None], run: Chosen) -> str | None:
    """Why this run can't be acted on, if that is its own fault; other errors end the command."""
    from headrace.client import Conflict, InvalidRequest, NotFound, Unavailable

    with asking():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                act(run)
            except (Conflict, InvalidRequest, NotFound) as error:
                return error.message
            except Unavailable as error:
                if attempt == _ATTEMPTS:
                    note("cut off: the same command goes on (a rerun: with the same --replay)")
                    raise
                time.sleep(min(error.retry_after_s or attempt, 10.0))
            else:
                return None
    return None


def _print(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(facts)
        return
    refused = facts.pop("refused", {})
    agents = ", ".join(f"{name} {count}" for name, count in sorted(facts.pop("agents").items()))
    print_facts([*facts.items(), ("by agent", agents or "-"), ("refused", len(refused))])
    for run, why in list(refused.items())[:20]:
        note(f"run {run}: {why}")

"""``headrace runs fork``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from headrace.cli.asking import asking
from headrace.cli.output import print_facts, print_json, stop
from headrace.cli.target import JsonFlag, Target
from headrace.messages import strict_json
from headrace.messages.errors import BadMessage

if TYPE_CHECKING:
    from headrace.client import Forked
    from headrace.client.calls import ForkOptions

_NOWHERE = Target()


def fork(
    run: str,
    *,
    at: Annotated[int, Parameter(validator=Number(gte=0))],
    input: str | None = None,
    prompt: str | None = None,
    tool_result: Annotated[list[str] | None, Parameter(name="--tool-result", negative=())] = None,
    version: str | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Begin a new run that takes a run's records up to a step as they are, and goes on live from there.

    What was asked of models and tools before the step is not asked again. The same fork is the same run, however often it is asked
    for. Exits with 4 if there is no such run, with 1 if it can't be forked there.

    Example: `headrace runs fork 3f0c… --at 2 --tool-result 'call_2_1={"rows": []}'`

    Parameters
    ----------
    run
        Run id.
    at
        The model turn whose tool results the fork goes on from; 0 is the job. `headrace runs show` tells the steps of a run. Calls
        of that turn which have no result yet are made for the fork.
    input
        At 0: this in place of the job's input. JSON, or a file that holds it.
    prompt
        At 0: this in place of the job's prompt. Text, or a file that holds it.
    tool_result
        `CALL=JSON` or `CALL=FILE`: what that call of the step gave, in place of what it gave. May be repeated.
    version
        Of the agent; default: the version that the run took.
    dry_run
        Only say what would be taken and what made anew.
    json
        Print JSON.
    """
    from headrace.client import Client

    wanted: ForkOptions = {"at": at, "dry_run": dry_run}
    if input is not None:
        wanted["input"] = _value(input, "--input")
    if prompt is not None:
        wanted["prompt"] = _text(prompt)
    if version is not None:
        wanted["version"] = version
    if tool_result:
        wanted["tool_results"] = dict(_assigned(one) for one in tool_result)
    with asking(), Client(target.gateway_url()) as client:
        forked = client.fork(run, **wanted)
    if json:
        print_json(_facts(forked))
    else:
        _show(forked, dry_run=dry_run)


def _show(forked: Forked, *, dry_run: bool) -> None:
    taken, anew = forked.taken, forked.anew
    results = ", ".join(taken["tool_results"]) or "none"
    print_facts(
        [
            ("would be run" if dry_run else "run", forked.run_id),
            ("agent", forked.agent),
            ("forked from", f"{forked.forked_from['run_id']} at step {forked.forked_from['step']}"),
            ("edited", ", ".join(forked.edited) or "nothing"),
            ("taken as it is", f"{taken['model_turns']} model turns; of the last one the results of: {results}"),
            ("made anew", f"from the {anew['from'].replace('_', ' ')} on {', '.join(anew['tool_calls'])}".rstrip()),
        ]
    )


def _facts(forked: Forked) -> dict[str, Any]:
    return {name: getattr(forked, name) for name in forked.__struct_fields__}


def _assigned(text: str) -> tuple[str, Any]:
    call, equals, value = text.partition("=")
    if not call or not equals:
        raise stop("--tool-result: say CALL=JSON or CALL=FILE", 2)
    return call, _value(value, "--tool-result")


def _value(text: str, option: str) -> Any:
    """``text`` as JSON, else the JSON in the file of that name."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return strict_json.loads(Path(text).read_bytes())
    except OSError:
        raise stop(f"{option}: neither JSON nor a file that can be read", 2) from None
    except BadMessage as error:
        raise stop(f"{option}: {error}", 2) from None


def _text(text: str) -> str:
    """``text``, or what is in the file of that name."""
    try:
        return Path(text).read_text()
    except (OSError, ValueError):  # no such file, or nothing that may name one
        return text

"""``headrace approvals``: through the gateway, which knows from the credential who decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.cli.output import note, print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, gateway_client, run_async

app = App(name="approvals", help="Calls that wait for somebody's yes.", help_format="markdown")

State = Literal["pending", "approved", "denied", "reported", "due", "cancelled"]
_NOWHERE = Target()
_COLUMNS = ("id", "state", "agent", "tool", "run_id", "deadline", "decided_by")
_ENDS = {401: 1, 403: 1, 404: 4, 409: 1, 422: 2}


@app.command(name="list")
def list_(
    *,
    state: State | None = "pending",
    all: Annotated[bool, Parameter(name="--all", negative=())] = False,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=200))] = 50,
    cursor: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """What waits for a decision, the latest deadline first.

    Example: `headrace approvals list --json`

    Parameters
    ----------
    state
        Only in this state; pending unless given.
    all
        In any state.
    limit
        At most so many, up to 200.
    cursor
        Where to go on: the cursor of the page before.
    json
        Print JSON.
    """
    asked = {"state": None if all else state, "limit": limit, "cursor": cursor}
    params = {name: value for name, value in asked.items() if value is not None}
    page = run_async(_call(target.gateway_url(), "GET", "/v1/approvals", params=params))
    if json:
        print_json(page)
        return
    rows = [tuple(approval.get(column, "-") for column in _COLUMNS) for approval in page["approvals"]]
    print_table(_COLUMNS, rows, empty="nothing waits for a decision", whole=("id",), spare=("decided_by", "run_id"))
    if page["cursor"]:
        note(f"there are more: --cursor {page['cursor']}")


@app.command
def show(approval: str, /, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One approval, with the arguments that the call would have. Exits with 4 if there is no such approval.

    Example: `headrace approvals show 3f0c… --json`

    Parameters
    ----------
    approval
        Id of the approval.
    json
        Print JSON.
    """
    _print(run_async(_call(target.gateway_url(), "GET", f"/v1/approvals/{_name(approval)}")), json)


@app.command
def approve(
    approval: str,
    /,
    *,
    arguments_hash: str | None = None,
    edit: Path | None = None,
    reason: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Let a call be made. Exits with 1 if it was decided already, or if its arguments are others than those that were seen.

    Example: `headrace approvals approve 3f0c… --edit arguments.json`

    Parameters
    ----------
    approval
        Id of the approval.
    arguments_hash
        The arguments that were seen, as `show` names them; without it, those that the call has now.
    edit
        A JSON file with other arguments, which the call is then made with.
    reason
        Kept with the decision.
    json
        Print JSON.
    """
    decision: dict[str, Any] = {"verdict": "approve", "arguments_hash": arguments_hash, "reason": reason}
    if edit is not None:
        decision["arguments"] = _arguments(edit)
    _print(run_async(_decide(target.gateway_url(), approval, decision)), json)


@app.command
def deny(
    approval: str,
    /,
    *,
    arguments_hash: str | None = None,
    reason: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Refuse a call: the agent goes on without it, and reads why. Exits with 1 if it was decided already.

    Example: `headrace approvals deny 3f0c… --reason "not during the freeze"`

    Parameters
    ----------
    approval
        Id of the approval.
    arguments_hash
        The arguments that were seen, as `show` names them; without it, those that the call has now.
    reason
        What the agent is told.
    json
        Print JSON.
    """
    decision = {"verdict": "deny", "arguments_hash": arguments_hash, "reason": reason}
    _print(run_async(_decide(target.gateway_url(), approval, decision)), json)


async def _decide(url: str, approval: str, decision: dict[str, Any]) -> dict[str, Any]:
    path = f"/v1/approvals/{_name(approval)}"
    if decision["arguments_hash"] is None:
        decision["arguments_hash"] = (await _call(url, "GET", path))["arguments_hash"]
    return await _call(url, "POST", f"{path}/decision", json=decision)


async def _call(url: str, method: str, path: str, **request: Any) -> dict[str, Any]:
    import httpx2

    async with gateway_client(url) as gateway:
        try:
            answer = await gateway.request(method, path, **request)
        except httpx2.TransportError as error:
            raise stop(f"the gateway at {url} does not answer: {type(error).__name__}", 3) from None
    if answer.status_code >= 400:
        raise stop(_told(answer), _ENDS.get(answer.status_code, 3 if answer.status_code == 503 else 1))
    found: dict[str, Any] = answer.json()
    return found


def _told(answer: Any) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {answer.status_code}"


def _name(approval: str) -> str:
    """An id as a piece of a path."""
    if not approval or not all(character.isalnum() or character == "-" for character in approval):
        raise stop("that is no id of an approval", 4)
    return approval


def _arguments(path: Path) -> dict[str, Any]:
    from headrace.messages import strict_json
    from headrace.messages.errors import BadMessage

    try:
        value = strict_json.loads(path.read_bytes())
    except (OSError, BadMessage) as error:
        raise stop(f"--edit: {error}", 2) from None
    if not isinstance(value, dict):
        raise stop("--edit: the arguments are not a JSON object", 2)
    return value


def _print(approval: dict[str, Any], json: bool) -> None:
    if json:
        print_json(approval)
    else:
        print_facts(approval.items())

"""``headrace agent``"""

from __future__ import annotations

import sys

from headrace.cli.asking import asking
from headrace.cli.output import print_json, stop
from headrace.cli.target import JsonFlag, Target

_NOWHERE = Target()


def agent(prompt: str | None = None, /, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Ask the assistant one thing, and print its answer.

    Example: `headrace agent "What can you do?"`

    Parameters
    ----------
    prompt
        What to ask. Without it, it is read from standard input.
    json
        Print JSON.
    """
    from headrace.client import run

    asked = (_read() if prompt is None else prompt).strip()
    if not asked:
        raise stop("give a prompt, as the argument or on standard input", 2)
    with asking():
        answer = run(asked, url=target.gateway_url())
    if json:
        print_json({"response": answer})
    else:
        print(answer)


def _read() -> str:
    """A line from a person, everything from a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.read()
    print("Ask the agent: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()

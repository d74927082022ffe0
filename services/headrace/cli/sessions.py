"""``headrace sessions``"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.blobs.settings import open_blobs
from headrace.cli.output import print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.index import SessionIndex, SessionPage, SessionView
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

app = App(name="sessions", help="Sessions: conversations that go on from run to run.", help_format="markdown")

_NOWHERE = Target()


@app.command(name="list")
def list_(
    *,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=500))] = 50,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Sessions, the last used one first.

    Example: `headrace sessions list --json`

    Parameters
    ----------
    limit
        At most so many, up to 500.
    json
        Print JSON.
    """

    async def read() -> SessionPage:
        settings = target.settings(kafka=False)
        async with _index(settings) as index:
            return await index.sessions(settings.tenant, limit=limit)

    page = run_async(read())
    if json:
        print_json(page)
        return
    rows = [(one.session_id, one.runs, one.first_at, one.last_at) for one in page.sessions]
    print_table(("session", "runs", "first run", "last run"), rows, empty="no sessions", whole=("session",))


@app.command
def show(session: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One session: its conversation, its last result, how often it used which pipeline, and its runs.

    Exits with 4 if there is no such session.

    Example: `headrace sessions show sess-xyz789 --json`

    Parameters
    ----------
    session
        Session id, as jobs name it.
    json
        Print JSON.
    """

    async def read() -> SessionView | None:
        settings = target.settings(kafka=False)
        async with _index(settings) as index:
            return await index.session(settings.tenant, session)

    found = run_async(read())
    if found is None:
        raise stop(f"no session {session} (`headrace sessions list` lists those with a run that has ended)", 4)
    if json:
        print_json(found)
        return
    in_line = ", ".join(found.in_line) or "-"
    facts = {"session": session, "turns": found.turns, "last_result_ref": found.last_result_ref, "in line": in_line}
    print_facts((name, value) for name, value in facts.items() if value is not None)
    print()
    print_table(
        ("who", "said"), [(said.role, said.content) for said in found.conversation_history], empty="nothing said"
    )
    if found.pipeline_usage:
        print_table(("pipeline", "used"), list(found.pipeline_usage.items()), whole=("pipeline",))
    rows = [(run.run_id, run.status, run.agent_name, run.result_ref, run.completed_at) for run in found.runs]
    print_table(("run", "status", "agent", "result", "ended"), rows, empty="no run has ended", whole=("run", "status"))


@asynccontextmanager
async def _index(settings: MeshSettings) -> AsyncIterator[SessionIndex]:
    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield SessionIndex(pool, open_blobs(settings, pool))

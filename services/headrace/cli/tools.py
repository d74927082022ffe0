"""``headrace tools``"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal, TypeVar

import asyncpg
import orjson
from cyclopts import App, Parameter

from headrace.cli.output import Exit, note, print_facts, print_json, print_table, stop
from headrace.cli.tables import printable
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.messages.errors import BadMessage
from headrace.postgres.pool import open_pool
from headrace.toolbox.composites import Composite, Composites, UseOf
from headrace.toolbox.search import Found, ToolSearch

app = App(
    name="tools",
    help="Composite tools: pipelines that are used again and again, known by a name.",
    help_format="markdown",
)

T = TypeVar("T")
_NOWHERE = Target()
Flag = Annotated[bool, Parameter(negative=())]


@app.command(name="list")
def list_(*, all: Flag = False, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The composite tools that agents are offered.

    Example: `headrace tools list --all`

    Parameters
    ----------
    all
        Also pipelines that were used but are not composite tools, or no longer.
    json
        Print JSON.
    """

    async def read(composites: Composites, tenant: str) -> tuple[list[Composite], bool]:
        return await composites.all(tenant, used=all), await composites.promotion(tenant)

    found, on = _asked(target, read)
    if not on:
        note("promotion is off for this tenant: none of these is offered (`headrace tools promotion on`)")
    if json:
        print_json(found)
        return
    columns = ("tool", "state", "uses", "last used", "description")
    rows = [(one.name, one.state, one.uses, one.last_used_at, one.description) for one in found]
    print_table(columns, rows, empty="no composite tools", whole=("tool", "state"), spare=("last used",))


@app.command
def show(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One pipeline: its steps, and which runs used it when. Exits with 4 if there is none of that name or digest.

    Example: `headrace tools show composite_fetch_sort_top_1f0c9a2b7d3e`

    Parameters
    ----------
    name
        Name of the tool, or digest of the pipeline.
    json
        Print JSON.
    """

    async def read(composites: Composites, tenant: str) -> tuple[Composite, list[UseOf]] | None:
        found = await composites.find(tenant, name)
        return (found, await composites.uses(found)) if found else None

    answer = _asked(target, read)
    if answer is None:
        raise _unknown(name)
    composite, uses = answer
    if json:
        print_json({"tool": composite, "used_by": uses})
        return
    print_facts((field, getattr(composite, field)) for field in composite.__struct_fields__ if field != "steps")
    print("\n" + printable(orjson.dumps(composite.steps, option=orjson.OPT_INDENT_2).decode()) + "\n")
    columns = ("run", "agent", "when")
    print_table(columns, [(use.run_id, use.agent, use.used_at) for use in uses], empty="no use is kept", whole=("run",))


@app.command
def promote(
    name: str,
    *,
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    description: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Make a pipeline a composite tool, whatever its uses. Exits with 4 if there is none of that name or digest.

    Example: `headrace tools promote composite_fetch_top_1f0c9a2b7d3e --as composite_flights`

    Parameters
    ----------
    name
        Name or digest, as `headrace tools list --all` shows them.
    as_
        A name of your own: composite_ and up to 54 of a-z, 0-9 and _.
    description
        What agents are told that it does, instead of what is made of its steps.
    json
        Print JSON.
    """

    async def work(composites: Composites, tenant: str) -> Composite | None:
        return await composites.promote(tenant, name, new_name=as_, description=description)

    try:
        _decided(_asked(target, work), name, json)
    except BadMessage as error:
        raise stop(str(error), 2) from None


@app.command
def demote(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Take a composite tool back. It is offered to no new run, refused to those that were offered it, and not promoted
    by use again.

    Example: `headrace tools demote composite_fetch_top_1f0c9a2b7d3e`

    Parameters
    ----------
    name
        Name or digest.
    json
        Print JSON.
    """

    async def work(composites: Composites, tenant: str) -> Composite | None:
        return await composites.demote(tenant, name)

    _decided(_asked(target, work), name, json)


@app.command
def promotion(state: Literal["on", "off"], *, target: Target = _NOWHERE) -> None:
    """Whether pipelines of this tenant become composite tools by use, and composite tools are offered.

    Example: `headrace tools promotion off`

    Parameters
    ----------
    state
        on or off.
    """

    async def work(composites: Composites, tenant: str) -> None:
        await composites.switch(tenant, on=state == "on")

    _asked(target, work)
    note(f"promotion is {state}")


@app.command
def search(query: str, *, limit: int = 10, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Composite tools and workflows by words, the best first: what agents find with `search_tools`.

    Example: `headrace tools search "flights by price"`

    Parameters
    ----------
    query
        Keywords, or a description of what is wanted.
    limit
        At most so many.
    json
        Print JSON.
    """

    async def read() -> list[Found]:
        async with _pool(target) as (pool, tenant):
            return await ToolSearch(pool).find(tenant, query, limit)

    found = run_async(read())
    if json:
        print_json(found)
        return
    columns = ("tool", "kind", "uses", "rank", "description")
    print_table(
        columns, [(one.name, one.kind, one.uses, one.rank, one.description) for one in found], empty="nothing found"
    )


def _asked(target: Target, work: Callable[[Composites, str], Awaitable[T]]) -> T:
    """What ``work`` gives for the tenant of the mesh."""

    async def run() -> T:
        async with _pool(target) as (pool, tenant):
            return await work(Composites(pool), tenant)

    return run_async(run())


@asynccontextmanager
async def _pool(target: Target) -> AsyncIterator[tuple[asyncpg.Pool, str]]:
    settings = target.settings(kafka=False)
    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield pool, settings.tenant


def _decided(composite: Composite | None, name: str, json: bool) -> None:
    if composite is None:
        raise _unknown(name)
    if json:
        print_json(composite)
    else:
        print_table(("tool", "state", "description"), [(composite.name, composite.state, composite.description)])


def _unknown(name: str) -> Exit:
    return stop(f"no pipeline {name}: see `headrace tools list --all`", 4)

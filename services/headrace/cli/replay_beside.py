"""``headrace replay rebuild --beside``, ``headrace replay swap`` and ``headrace replay drop``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
from cyclopts import Parameter

from headrace.cli.output import Exit, note, print_json, print_table, stop
from headrace.cli.replay_service import service_of
from headrace.cli.replay_view import Console, show_report
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.postgres.errors import translated
from headrace.postgres.pool import open_pool
from headrace.replay.actions import on_record
from headrace.replay.beside import tables
from headrace.replay.beside.comparing import TableComparison
from headrace.replay.beside.tables import BadName, Place, check_possible, kept, place_of
from headrace.replay.beside.work import Beside, Differs, Work
from headrace.settings import MeshSettings

_NOWHERE = Target()
_SERVICE = "persistence"
Flag = Annotated[bool, Parameter(negative=())]


def make_beside(target: Target, name: str, *, then_swap: bool, yes: bool, patience_s: float, json: bool) -> None:
    """The work of ``headrace replay rebuild --beside``."""
    found = run_async(_made(target, name, then_swap=then_swap, yes=yes, patience_s=patience_s))
    if found is None:
        note(f"the index {name} was swapped in already: what was before is kept until `headrace replay drop {name}`")
        return
    _tell(found, json=json)
    if not found.same and not (then_swap and yes):
        raise Exit(5)
    if not then_swap:
        note(f"`headrace replay swap {name}` puts it in the live one's place, `headrace replay drop {name}` removes it")


def swap(
    name: str, *, yes: Flag = False, timeout: float = 120.0, target: Target = _NOWHERE, json: JsonFlag = False
) -> None:
    """Put an index that `headrace replay rebuild --beside NAME` made in the live one's place, in one transaction.

    Persistence is stopped for it (where `headrace up` runs it; elsewhere, stop it first), what came in meanwhile is read, and
    both are compared. The old index is kept until `headrace replay drop NAME`. Exits with 5, and changes nothing, if they differ.

    Example: `headrace replay swap november`

    Parameters
    ----------
    name
        Of the index.
    yes
        Swap whatever differs.
    timeout
        Seconds to wait for persistence to stop, and to wait without progress.
    json
        Print JSON.
    """
    _tell(run_async(_swapped(target, name, yes=yes, patience_s=timeout)), json=json)
    note(f"the index is {name} now; what was before is kept until `headrace replay drop {name}`")


def drop(name: str, *, yes: Flag = False, target: Target = _NOWHERE) -> None:
    """Remove an index beside, or what a swap has put aside. Exits with 4 if there is no such.

    Example: `headrace replay drop november --yes`

    Parameters
    ----------
    name
        Of the index.
    yes
        Do it.
    """
    dropped = run_async(_dropped(target.settings(), name, yes=yes))
    print("dropped " + ", ".join(dropped))


async def _made(target: Target, name: str, *, then_swap: bool, yes: bool, patience_s: float) -> Beside | None:
    settings = target.settings()
    async with _work(settings, name, patience_s) as (work, place, pool):
        with translated():
            async with pool.acquire() as connection:
                if then_swap and place.before in await kept(connection):
                    return None
        async with on_record(settings, "rebuild_beside", who(), service=_SERVICE, range=f"to earliest, {name}") as done:
            found = await work.build()
            done.records = found.report.records if found.report else 0
        if then_swap and (found.same or yes):
            return await _swap(target, settings, work, name, yes=yes, patience_s=patience_s)
        return found


async def _swapped(target: Target, name: str, *, yes: bool, patience_s: float) -> Beside:
    settings = target.settings()
    async with _work(settings, name, patience_s) as (work, _place, _pool):
        return await _swap(target, settings, work, name, yes=yes, patience_s=patience_s)


async def _swap(
    target: Target, settings: MeshSettings, work: Work, name: str, *, yes: bool, patience_s: float
) -> Beside:
    service = service_of(target.data, settings, _SERVICE, run=False, timeout=patience_s)
    async with on_record(settings, "swap", who(), service=_SERVICE, range=name):
        try:
            return await work.swap(service, whatever=yes)
        except Differs as differs:
            _show_rows(differs.rows)
            raise stop(f"{differs}: --yes swaps all the same", 5) from None


async def _dropped(settings: MeshSettings, name: str, *, yes: bool) -> list[str]:
    async with open_pool(settings, min_size=1, max_size=1, service="headrace-replay") as pool:
        with translated():
            async with pool.acquire() as connection:
                place = await _place(connection, name)
                there = [schema for schema in (place.beside, place.before) if schema in await kept(connection)]
                if not there:
                    raise stop(f"no index {name} is kept; there is: {', '.join(await kept(connection)) or 'none'}", 4)
                if not yes:
                    raise stop(f"this removes {', '.join(there)} with all rows: say --yes", 2)
                async with on_record(settings, "drop", who(), service=_SERVICE, range=", ".join(there)):
                    return await tables.drop(connection, place)


@asynccontextmanager
async def _work(
    settings: MeshSettings, name: str, patience_s: float
) -> AsyncIterator[tuple[Work, Place, asyncpg.Pool]]:
    async with open_pool(settings, min_size=1, max_size=2, service="headrace-replay") as pool:
        with translated():
            async with pool.acquire() as connection:
                place = await _place(connection, name)
                await check_possible(connection, place)
        yield Work(settings, pool, place, Console, patience_s), place, pool


async def _place(connection: tables.Connection, name: str) -> Place:
    try:
        return await place_of(connection, name)
    except BadName as error:
        raise stop(str(error), 2) from None


def _tell(found: Beside, *, json: bool) -> None:
    if json:
        print_json(found.facts())
        return
    if found.report:
        show_report(found.report)
    _show_rows(found.rows)


def _show_rows(rows: Sequence[TableComparison]) -> None:
    columns = ("rows", "live", "beside", "equal", "moving", "gone", "missing", "new", "differs", "digest", "")
    print_table(
        columns,
        [
            (
                *(one.table, one.live, one.beside, one.equal, one.moving, one.gone, one.missing, one.new, one.differs),
                *(one.beside_digest, "=" if one.live_digest == one.beside_digest else f"live {one.live_digest}"),
            )
            for one in rows
        ],
        whole=("rows",),
    )
    for one in rows:
        for example in one.examples:
            print(f"  {one.table}: {example}")

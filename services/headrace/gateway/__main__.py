"""Composition of the gateway: publisher, catalogue, index, claims, blobs and the live feed, and the HTTP server over them.

It listens at once, whatever is away: a sender gets a 503 that it retries, never a refused connection, and each part
comes in by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import asyncpg

from headrace.auth.authenticator import Authenticator
from headrace.auth.settings import AuthSettings
from headrace.auth.store import AuthStore
from headrace.blobs import BlobStore
from headrace.blobs.settings import open_blobs
from headrace.budgets.follow import followed as followed_budgets
from headrace.budgets.postgres import PostgresBudgets
from headrace.claims.postgres import PostgresClaims
from headrace.control.approvals import PostgresApprovals
from headrace.control.cancellations import PostgresCancellations
from headrace.control.replays.store import Replays
from headrace.control.turns import PostgresTurns
from headrace.forks.records import Forks
from headrace.gateway.app import create_app
from headrace.gateway.budget_desk import BudgetDesk
from headrace.gateway.feed import Feeds, Hub, Recall
from headrace.gateway.live_tail import RUN_TOPICS, TOKEN_TOPICS, LiveTail, Records
from headrace.gateway.ports import Check, Deps, JsonDict, WorkflowStore
from headrace.gateway.promotion_desk import PromotionDesk
from headrace.gateway.run_reader import IndexedRuns, IndexedSessions, IndexedUsage
from headrace.gateway.server import GatewayServer
from headrace.gateway.settings import GatewaySettings, environment
from headrace.gateway.sources.load import load_sources
from headrace.gateway.sources.outbound import GuardedOutbound
from headrace.history.comparison import Compared, compare
from headrace.history.horizon import Range, agents, facts, horizons, survey
from headrace.history.stored import History
from headrace.host.component import Component
from headrace.index import RunIndex, SessionIndex, UsageIndex
from headrace.messages.errors import FatalError
from headrace.postgres.errors import translated
from headrace.postgres.pool import open_pool
from headrace.registry.catalog import Catalog
from headrace.registry.follow import definitions
from headrace.runtime.pick import Picker
from headrace.runtime.publisher import Publisher
from headrace.runtime.schemas import Schemas
from headrace.runtime.table import Table
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings
from headrace.workflows.repository import WorkflowRepository
from headrace.workflows.runs import WorkflowRuns

_RECALLED_S: Final = 60.0


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start."""
    own, access = GatewaySettings(), AuthSettings()
    secrets = access.secrets() if access.required_on(own.gateway_host) else ()
    outbound = GuardedOutbound()
    sources = load_sources(own, environment(), outbound)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(outbound.close)
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-gateway"))
        blobs = open_blobs(settings, pool)
        claims = PostgresClaims(pool)
        stack.push_async_callback(claims.close)
        publisher = Publisher(settings, "gateway", blobs)
        stack.push_async_callback(publisher.stop)
        await publisher.start()
        catalog = Catalog()
        table = await stack.enter_async_context(_followed(settings, catalog))
        budgets = PostgresBudgets(pool)
        known_budgets = await stack.enter_async_context(followed_budgets(budgets))
        stored = await stack.enter_async_context(_stored(settings, pool, blobs))
        deps = Deps(
            settings=own,
            tenant=settings.tenant,
            sources=sources,
            publisher=publisher,
            catalog=catalog,
            catalog_ready=table.ready,
            index=IndexedRuns(RunIndex(pool, blobs), settings.tenant),
            usage=IndexedUsage(UsageIndex(pool), settings.tenant),
            sessions=IndexedSessions(SessionIndex(pool, blobs), settings.tenant),
            claims=claims,
            turns=PostgresTurns(pool),
            cancellations=PostgresCancellations(pool),
            approvals=PostgresApprovals(pool),
            blobs=blobs,
            feed=await stack.enter_async_context(_feed(settings, blobs)),
            asyncapi=lambda: _asyncapi(settings),
            budgets=BudgetDesk(budgets, known_budgets, publisher, settings.tenant),
            authenticator=_authenticator(pool, secrets, access) if secrets else None,
            promotion=PromotionDesk(settings),
            forks=stored.forks,
            history=stored,
            replays=Replays(pool),
            workflows=WorkflowStore(WorkflowRepository(pool), WorkflowRuns(pool)),
            checks={"kafka": _check(publisher.ready), "catalogue": _check(table.ready), "database": _database(pool)},
        )
        yield GatewayServer(create_app(deps), own, drain_s=settings.drain_seconds, auth=bool(secrets))


@asynccontextmanager
async def _followed(settings: MeshSettings, catalog: Catalog) -> AsyncIterator[Table]:
    """The table of definitions, read into ``catalog`` in the background."""
    table = definitions(settings, catalog)
    starting = asyncio.create_task(table.start(), name="gateway-catalogue")
    try:
        yield table
    finally:
        starting.cancel()
        with suppress(asyncio.CancelledError, FatalError):  # it may not read the topic, which the log says
            await starting
        await table.stop()


@asynccontextmanager
async def _feed(settings: MeshSettings, blobs: BlobStore) -> AsyncIterator[Feeds]:
    wire = Wire("gateway", settings, blobs)
    feeds = Feeds(
        Hub(lambda watched: LiveTail(_tail(settings), wire.decode, watched)),
        Hub(lambda watched: LiveTail(_token_tail(settings), wire.decode, watched), Recall(_RECALLED_S)),
    )
    try:
        yield feeds
    finally:
        await feeds.close()
        await wire.close()


class _Stored:
    """What needs the records of stored runs; all of it reads them by one picker."""

    def __init__(self, settings: MeshSettings, pool: asyncpg.Pool, forks: Forks, history: History) -> None:
        self._settings = settings
        self._pool = pool
        self.forks = forks
        self._history = history

    async def compare(self, left: str, right: str) -> Compared:
        return await compare(self._history, left, right)

    async def horizon(self, agent: str | None, within: Range | None) -> JsonDict:
        reaches = await asyncio.to_thread(survey, self._settings)
        found = horizons(reaches)
        standing = await agents(self._pool, self._settings.tenant, found, agent, within)
        return facts(reaches, found, standing, within)


@asynccontextmanager
async def _stored(settings: MeshSettings, pool: asyncpg.Pool, blobs: BlobStore) -> AsyncIterator[_Stored]:
    wire, schemas = Wire("gateway", settings, blobs), Schemas(settings)
    try:
        async with Picker(settings) as picker:
            forks = Forks(RunIndex(pool, blobs), picker, wire, settings.tenant)
            yield _Stored(settings, pool, forks, History(settings, pool, picker, schemas))
    finally:
        await schemas.close()
        await wire.close()


# What is imported below takes longer than the rest of the gateway's start, and many gateways never need it.


def _tail(settings: MeshSettings) -> Records:
    from headrace.runtime.tail import Tail  # aiokafka

    return Tail(settings, RUN_TOPICS)


def _token_tail(settings: MeshSettings) -> Records:
    """From a minute ago on: a caller asks for a run first, and then follows it."""
    from headrace.runtime.tail import Since, Tail

    return Tail(settings, TOKEN_TOPICS, start=Since(round((time.time() - _RECALLED_S) * 1000)))


def _asyncapi(settings: MeshSettings) -> JsonDict:
    from headrace.asyncapi import document  # JSON Schema

    return document(topic_prefix=settings.topic_prefix)


def _check(ready: Callable[[], bool]) -> Check:
    async def check() -> bool:
        return ready()

    return check


def _database(pool: asyncpg.Pool) -> Check:
    async def check() -> bool:
        with translated():
            return bool(await pool.fetchval("SELECT true"))

    return check


def _authenticator(pool: asyncpg.Pool, secrets: Sequence[bytes], access: AuthSettings) -> Authenticator:
    callbacks = access.callback_secrets()
    return Authenticator(AuthStore(pool), secrets, callback_secrets=callbacks, cache_s=access.auth_cache_s)


if __name__ == "__main__":
    from headrace.host.process import main

    main(["gateway"])

"""Composition of the reasoning service: definitions from their table, models, blobs, claims, and the processor over them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from headrace.blobs.settings import open_blobs
from headrace.budgets.follow import followed as followed_budgets
from headrace.budgets.postgres import PostgresBudgets
from headrace.budgets.spending import Spending
from headrace.claims.postgres import PostgresClaims
from headrace.control.cancellations import PostgresCancellations, followed
from headrace.control.session_queue import PostgresSessionQueue
from headrace.egress import EgressSettings, GuardedClient
from headrace.host.component import Component
from headrace.index.rewound import Rewound
from headrace.models.resolve import Models
from headrace.models.settings import ModelSettings
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.reasoning.admission import CatalogAdmission
from headrace.reasoning.agents import Agents, mesh_specs
from headrace.reasoning.cache import BlobCache
from headrace.reasoning.execution import Tools
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks.http import HttpRuntime
from headrace.reasoning.ledger import ClaimedRuns, PostgresEnded
from headrace.reasoning.processor import ReasoningProcessor
from headrace.reasoning.sessions import QueuedSessions
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.toolsets import Toolsets
from headrace.reasoning.transcript import Transcripts
from headrace.registry.follow import followed_catalog
from headrace.runtime.advisory import Advisory
from headrace.runtime.engine import Bounds
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.toolbox.composites import Composites
from headrace.toolbox.follow import followed_offers


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start: every agent definition that was published is known before the first job is taken."""
    own, specs = ReasoningSettings(), mesh_specs()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-reasoning"))
        store = open_blobs(settings, pool)
        models = Models(ModelSettings())
        stack.push_async_callback(models.close)
        agents = Agents(await stack.enter_async_context(followed_catalog(settings)), specs)
        blobs = BlobCache(store, own.cache_bytes)
        cancelled = await stack.enter_async_context(followed(PostgresCancellations(pool)))
        advisory = Advisory(settings, "reasoning", store)
        stack.push_async_callback(advisory.close)
        bank = PostgresBudgets(pool)
        rules = await stack.enter_async_context(followed_budgets(bank, measure=True))
        budgets = await stack.enter_async_context(Spending(rules, bank, lease_s=own.budget_lease_s).kept())
        egress = EgressSettings()
        policy = replace(egress.policy(), timeout_s=own.model_timeout_s)
        client = await stack.enter_async_context(GuardedClient(policy, ca_file=egress.ca_file))
        frameworks = Frameworks({"http": HttpRuntime(client)})
        tools = Tools(
            models, blobs, Transcripts(blobs), specs, own, now_ms, cancelled, advisory.send, budgets, frameworks
        )
        claims = PostgresClaims(pool)
        stack.push_async_callback(claims.close)
        ledger = ClaimedRuns(claims, PostgresEnded(pool))
        offers = await stack.enter_async_context(followed_offers(Composites(pool)))
        toolsets = Toolsets(offers, blobs, own.composite_tools)
        admission = CatalogAdmission(agents, ledger, models.resolve, toolsets=toolsets)
        sessions = QueuedSessions(PostgresSessionQueue(pool), cancelled)
        stack.push_async_callback(sessions.close)
        processor = ReasoningProcessor(tools, agents, admission, sessions, Rewound(pool))
        yield Worker(STAGES["reasoning"], processor, settings, store, bounds=Bounds(max_in_flight=own.max_in_flight))


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    from headrace.host.process import main

    main(["reasoning"])

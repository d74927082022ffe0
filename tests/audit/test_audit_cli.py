"""``headrace audit`` as people and schedules call it: exit codes, the named break, the entries of a run."""

from __future__ import annotations

import asyncio
import json
import os

from headrace.local.endpoints import Endpoints
from headrace.settings import MeshSettings
from tests.audit.mesh import RUN, audited, auditing, copy_log, jobs, make_audit_topics, one_of_each, write, write_raw
from tests.runtime.relay import settings_for
from tests.support.children import run_command


async def headrace(settings: MeshSettings, stack: Endpoints, *arguments: str) -> tuple[int, str]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
        "DATABASE_URL": stack.database_url,
        "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
        "COLUMNS": "220",
    }
    done = await asyncio.to_thread(run_command, "audit", *arguments, environment=environment)
    return done.returncode, done.stdout + done.stderr


async def test_the_commands(stack: Endpoints, namespace: str) -> None:
    settings = settings_for(stack, namespace)
    make_audit_topics(settings)
    messages = one_of_each()
    await write(settings, messages)
    write_raw(settings, "agent.jobs", jobs(10))
    written = len(messages) + 10
    async with auditing(settings):
        await audited(settings, written)

    code, text = await headrace(settings, stack, "verify", "--deep", "--json")
    report = json.loads(text)
    assert (code, report["whole"], report["entries"], report["source_records"]) == (0, True, written, written)
    assert all(len(chain["head"]["hash"]) == 64 for chain in report["chains"])

    code, text = await headrace(settings, stack, "verify", "--topic", "agent.results")
    assert code == 0
    assert "all 1 chains are whole" in text

    code, text = await headrace(settings, stack, "list", RUN.run_id)
    assert code == 0
    for fact in ("job_requested", "tool_called", "tool_finished", "run_finished", "triager@1.2.3", "limit_tokens"):
        assert fact in text
    assert (await headrace(settings, stack, "list", "no-such-run"))[0] == 4
    assert (await headrace(settings, stack, "verify", "--topic", "audit.events"))[0] == 2

    target = settings_for(stack, namespace + "x")
    copy_log(
        settings,
        target,
        lambda records: [r for r in records if r.key != "agent.jobs/0" or r.offset % 7 != 3],
        partitions=2,
    )
    code, text = await headrace(target, stack, "verify")
    assert code == 5
    assert "missing agent.jobs/0/" in text
    assert "audit.events/" in text

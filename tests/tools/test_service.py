"""The service as it is composed, on a real broker: calls that are granted, refused and parked, and a record that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import yaml
from pydantic import SecretStr

from headrace.local.endpoints import Endpoints
from headrace.messages import ids
from headrace.messages.agent import AgentRecord
from headrace.messages.run import ToolResults
from headrace.messages.wait import RunWait
from headrace.pipeline import STAGES
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings
from headrace.tools.__main__ import compose
from tests.runtime.kafka import make_topics, produce, read_all
from tests.support.stack import fresh_database
from tests.tools.helpers import call, calls, definition
from tests.tools.servers import always, serving

STAGE = STAGES["tools"]


@pytest.fixture
async def settings(stack: Endpoints, namespace: str, tmp_path: Path) -> AsyncIterator[MeshSettings]:
    async with fresh_database(stack.database_url) as url:
        settings = _settings(stack, namespace, tmp_path, url)
        async with open_pool(settings, min_size=1, max_size=1) as pool:
            await migrate(pool)
        yield settings


def _settings(stack: Endpoints, namespace: str, tmp_path: Path, url: str) -> MeshSettings:
    settings = MeshSettings(
        _env_file=None,
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        schema_registry_url=stack.schema_registry_url,
        database_url=SecretStr(url),
        topic_prefix=namespace,
        blob_store="directory",
        blob_dir=tmp_path,
    )
    make_topics(settings, [*STAGE.consumes, *STAGE.produces, *STAGE.reads, STAGE.dead_letters], partitions=1)
    return settings


async def test_calls_become_results_or_a_wait(
    settings: MeshSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(always(200, b'[{"n": 2}, {"n": 1}]')) as server:
        monkeypatch.setenv("HEADRACE_EGRESS_ALLOW_PRIVATE", server.target)
        callbacks = {"tools": {"export": {"description": "Exports.", "url": f"{server.url}/jobs"}}}
        (tmp_path / "callbacks.yaml").write_text(yaml.safe_dump(callbacks))
        monkeypatch.setenv("HEADRACE_CALLBACK_TOOLS", str(tmp_path / "callbacks.yaml"))
        monkeypatch.setenv("HEADRACE_CALLBACK_URL", "http://127.0.0.1:8080")
        monkeypatch.setenv("HEADRACE_CALLBACK_SECRET", "a-planted-secret-of-32-characters")
        pipeline = [{"step": "http_request", "url": server.url + "/"}, {"step": "table_sort", "field": "n"}]
        arguments = {"session_id": "s", "pipeline": pipeline}
        asked = calls(
            call("execute_pipeline", "good", arguments=arguments, effect="idempotent"),
            call("echo", "unknown"),
            deadline_ms=2**45,
        )
        later = calls(call("export"), deadline_ms=2**45)
        later = later.replace(run=later.run.replace(run_id="run-2"))
        grant = AgentRecord(name="triager", definition=definition(tools=("execute_pipeline", "export")))
        produce(settings, "agent.definitions", [(grant.record_key(), msgspec.json.encode(grant))])
        records = [("other", b"garbage"), *((one.record_key(), msgspec.json.encode(one)) for one in (asked, later))]
        produce(settings, "tool.calls", records)
        async with compose(settings) as service:
            await service.start()
            for _ in range(600):
                if service.status()["finished"] == 3:
                    break
                await asyncio.sleep(0.05)
            await service.stop()
    (record,) = read_all(settings, "tool.results")
    results = msgspec.json.decode(record.value, type=ToolResults)
    assert (record.key, results.run, results.progress.tool_calls) == ("run-1", asked.run, 6)
    good, unknown = results.results
    assert (good.status, good.tool_version, unknown.status) == ("ok", "1.1.0", "error")
    ref = ids.content_ref(b'[{"n":1},{"n":2}]')
    assert good.content == {"type": "dataset", "row_count": 2, "rows": [{"n": 1}, {"n": 2}], "result_ref": ref}
    (record,) = read_all(settings, "run.waits")
    wait = msgspec.json.decode(record.value, type=RunWait)
    assert [pending.kind for pending in wait.pending] == ["callback"]
    taken = next(seen for seen in server.requests if seen.path == "/jobs")
    assert taken.headers["headrace-callback-url"].startswith("http://127.0.0.1:8080/v1/waits/")
    assert taken.headers["headrace-callback-token"].encode() not in record.value
    (letter,) = read_all(settings, STAGE.dead_letters)
    assert letter.value == b"garbage"

"""Every body that the documents show is one that the mesh takes: posted to the real application, decoded by the real codec.

The application is the gateway's own over stand-ins behind its ports, without a socket; what it publishes is given to ingest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import jsonschema_rs
import msgspec
import orjson
import pytest
import yaml
from starlette.routing import Match

from headrace.auth_profiles import AuthProfiles
from headrace.budgets.load import load_file as load_budgets
from headrace.budgets.rules import problems
from headrace.config_file import load as load_configuration
from headrace.control.replays.store import NewReplay, Replay, Replays
from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.gateway.app import create_app
from headrace.gateway.sources.model import SourceConfig
from headrace.gateway.workflow_parts import PatchBody
from headrace.mcp.config import McpConfig
from headrace.messages.agent import AgentRecord, WasLive
from headrace.messages.budget import Budget
from headrace.messages.catalog import BY_TOPIC
from headrace.messages.codec import Codec
from headrace.messages.event import Event, RawDelivery
from headrace.messages.job import Job
from headrace.models.rates import load_rates
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks.http import Answer, HttpRuntime
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from headrace.registry.load import load_file, load_text
from headrace.replay.evaluators.load import load_evaluators, parse_evaluators
from headrace.runtime.api import Send
from headrace.toolspecs import SPECS
from headrace.toolspecs.callback_tools import read_callback_tools
from headrace.workflows.patching import read_operations
from tests.containment.hostile import Server
from tests.docs.pages import ROOT, SECRET, Block, blocks, shell_calls
from tests.gateway.support import NOW, Gateway, MemoryIndex, MemoryPromotion, RecordingPublisher
from tests.ingest.records import at, processor
from tests.reasoning.bench import Bench, ScriptedModel, answered, definition, only_calls

BODIES = [block for block in blocks("json") if block.info != "json"]
SHELL = blocks("sh")
_EXAMPLES: dict[str, Callable[[Path], object]] = {
    "budgets": load_budgets,
    "config": lambda path: load_configuration(
        path, dict.fromkeys(("DB_PASSWORD", "WEATHER_API_KEY", "INTERNAL_TOKEN"), "x")
    ),
    "evaluators": load_evaluators,
    "prices": load_rates,
}


class EndingPublisher(RecordingPublisher):
    """Every run has its result at once, for those who wait for it."""

    def __init__(self, index: MemoryIndex) -> None:
        super().__init__()
        self._index = index

    async def publish(self, sends: Sequence[Send], *, timeout_s: float) -> None:
        await super().publish(sends, timeout_s=timeout_s)
        for send in sends:
            if isinstance(send.message, Job):
                self._index.end(send.message.job_id, send.message.agent, output="An answer.")


class QueuedReplays(Replays):
    """Every replay that is asked for is queued."""

    def __init__(self) -> None:
        """Nothing to stand on."""

    async def begin(self, new: NewReplay) -> Replay:
        given = asdict(new)
        agent = given.pop("agent")
        return Replay(
            **given,
            agent_name=agent,
            state="queued",
            progress=None,
            spent_usd=0.0,
            error=None,
            holder=None,
            created_at=NOW,
            updated_at=NOW,
            began_at=None,
            ended_at=None,
        )


class Mesh:
    """The gateway's application with the built-in agents, and ingest behind it."""

    def __init__(self) -> None:
        self.gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_GITHUB": SECRET})
        self.gateway.publisher = EndingPublisher(self.gateway.index)
        was = WasLive(version="1.0.0", until="2026-11-01T08:00:00Z", ended_by="cli")
        pointer = AgentRecord(name="pr-risk-reviewer", live_version="1.1.0", revision=3, before=(was,))
        deps = replace(
            self.gateway.deps,
            catalog=catalog_of(builtin_definitions()),
            publisher=self.gateway.publisher,
            promotion=MemoryPromotion(pointer),
            replays=QueuedReplays(),
        )
        self.gateway.app = create_app(deps)

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        return await self.gateway.post(path, body, headers)

    async def outcome(self) -> list[Any]:
        """What becomes of everything that was published."""
        return [out for send in self.gateway.publisher.sends for out in await understood(send.message)]

    def has(self, path: str) -> bool:
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        return any(route.matches(scope)[0] is Match.FULL for route in self.gateway.app.router.routes)


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


async def understood(message: Any) -> list[Any]:
    """A job as it is; of a raw delivery, its events. Raises ``BadMessage``."""
    if not isinstance(message, RawDelivery):
        return [message]
    sends = await processor().handle(message, at())
    return [send.message for send in sends]


async def taken(topic: str, body: bytes) -> list[Any]:
    """What a record of ``topic``, or a document of the HTTP runtime, becomes. Raises ``BadMessage``."""
    if topic == "http-answer":
        assert msgspec.json.decode(body, type=Answer).tool_calls
        return []
    if topic == "http-turn":
        assert shape(orjson.loads(body)) == shape(await asked_turn())
        return []
    if topic == "agent.results":
        msgspec.json.decode(body, type=BY_TOPIC[topic])
        return []
    return await understood(Codec().decode(topic, None, body, {}))


async def asked_turn() -> Any:
    """What a service is really sent on the second turn of a run."""
    with Server("127.0.0.1") as server:
        policy = EgressPolicy(private=PrivateTargets.parse([server.address]))
        server.pages["/turn"] = (200, {}, {"tool_calls": [{"name": "execute_pipeline"}]})
        async with GuardedClient(policy) as client:
            bench = Bench(ScriptedModel(), definition(runtime="http", runtime_url=f"{server.url}/turn"))
            object.__setattr__(bench.tools, "frameworks", Frameworks({"http": HttpRuntime(client)}))
            await bench.resume(answered(only_calls(await bench.start()), "row"))
        return orjson.loads(server.requests[-1].body)


def shape(value: Any) -> Any:
    """Field names, without what they hold."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in ("parameters", "arguments")}
    return [shape(item) for item in value] if isinstance(value, list) else None


# --- fenced bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BODIES, ids=str)
async def test_every_json_block_is_taken_where_it_says(block: Block, mesh: Mesh) -> None:
    where = block.info.split()[1:]
    body = block.text.encode()
    if where[0] in SPECS:
        jsonschema_rs.validate(SPECS[where[0]].parameters, json.loads(body))
        return
    if where[0] == "auth_profiles":
        assert AuthProfiles.model_validate({"auth_profiles": json.loads(body)}).auth_profiles
        return
    if where[0] == "workflow-patch":
        assert read_operations(PatchBody.model_validate_json(body).operations)
        return
    if where[0] != "POST":
        await taken(where[0], body)
        return
    content_type = where[2] if len(where) > 2 else "application/json"
    response = await mesh.post(where[1], body, {"content-type": content_type})
    assert response.status_code == 202, response.text
    assert await mesh.outcome()


def test_every_json_block_says_where_it_goes() -> None:
    assert len(BODIES) >= 8
    assert [str(block) for block in blocks("json") if block.info == "json"] == []


# --- commands ------------------------------------------------------------------------------------------------------------


def calls_of(program: str, folder: Path) -> Iterator[tuple[Block, list[str]]]:
    for index, block in enumerate(SHELL):
        if program in block.text:
            place = folder / str(index)
            place.mkdir()
            for name, *arguments in shell_calls(block, place):
                if name == program:
                    yield block, arguments


def parsed(arguments: list[str]) -> tuple[str, dict[str, str], bytes | None]:
    """Path, headers and body of a call of curl."""
    headers: dict[str, str] = {}
    url, data = "", None
    words = iter(arguments)
    for word in words:
        if word == "-H":
            key, _, value = next(words).partition(":")
            headers[key.strip().lower()] = value.strip()
        elif word == "-d":
            data = next(words).encode()
        elif not word.startswith("-"):
            url = word
    assert url.startswith("http://127.0.0.1:8080/"), url
    return url.removeprefix("http://127.0.0.1:8080"), headers, data


async def test_every_curl_is_accepted(tmp_path: Path) -> None:
    events: list[Any] = []
    paths = []
    for block, arguments in calls_of("curl", tmp_path):
        mesh = Mesh()
        path, headers, body = parsed(arguments)
        paths.append(path)
        if body is None:
            assert mesh.has(path.partition("?")[0]), f"{block}: {path}"
            continue
        response = await mesh.post(path, body, headers)
        assert response.status_code in (200, 202), f"{block}: {path}: {response.text}"
        events += await mesh.outcome()
    assert {"/webhooks/github", "/events", "/v1/runs", "/agent", "/agents/run"} <= set(paths)
    types = {event.type for event in events if isinstance(event, Event)}
    assert {"com.github.pull_request.opened", "ticket.created", "com.acme.deployment.finished"} <= types


async def test_the_signature_that_readme_computes_is_of_that_body(tmp_path: Path, mesh: Mesh) -> None:
    """As it is: accepted. One byte changed: refused. So it is the signature that was checked."""
    signed = [parsed(call) for _, call in calls_of("curl", tmp_path) if "/webhooks/github" in " ".join(call)]
    ((path, headers, body),) = signed
    assert body is not None
    assert (await mesh.post(path, body, headers)).status_code == 202
    assert (await mesh.post(path, body.replace(b"opened", b"closed"), headers)).status_code == 401


async def test_every_record_that_kcat_produces_is_taken(tmp_path: Path) -> None:
    made = []
    for _, arguments in calls_of("kcat", tmp_path):
        if "-C" in arguments:
            continue
        assert "-P" in arguments
        topic = arguments[arguments.index("-t") + 1]
        made += await taken(topic, arguments[-1].encode())
    assert {type(message) for message in made} == {Job, Event}


async def test_every_python_block_produces_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[tuple[str, bytes]] = []

    class Producer:
        def __init__(self, config: dict[str, str]) -> None:
            assert config["bootstrap.servers"]

        def produce(self, topic: str, value: bytes, key: str) -> None:
            records.append((topic, value))

        def flush(self) -> None:
            pass

    standin = ModuleType("confluent_kafka")
    standin.Producer = Producer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "confluent_kafka", standin)
    for block in blocks("python"):
        if block.info == "python client":
            continue  # test_walks runs those
        exec(compile(block.text, str(block), "exec"), {})
    assert records
    for topic, value in records:
        assert await taken(topic, value)


# --- definitions ---------------------------------------------------------------------------------------------------------


def test_every_yaml_is_a_definition_or_a_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for block in blocks("yaml"):
        if block.info == "yaml source":
            SourceConfig.model_validate(yaml.safe_load(block.text))
        elif block.info == "yaml callbacks":
            file = tmp_path / "callbacks.yaml"
            file.write_text(block.text)
            assert read_callback_tools(file), str(block)
        elif block.info == "yaml mcp":
            monkeypatch.setenv("TICKETS_TOKEN", "a token")
            McpConfig.model_validate(yaml.safe_load(block.text))
        elif block.info == "yaml compose":
            extended = {service["extends"]["service"] for service in yaml.safe_load(block.text)["services"].values()}
            assert extended <= yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].keys(), str(block)
        elif block.info == "yaml budgets":
            assert not [found for value in yaml.safe_load(block.text) for found in problems(Budget.checked(value))]
        elif block.info == "yaml evaluators":
            parse_evaluators(block.text, file=str(block))
        elif block.info == "yaml helm":
            chart = ROOT / "deploy" / "helm" / "headrace"
            values = merged(yaml.safe_load((chart / "values.yaml").read_text()), yaml.safe_load(block.text))
            jsonschema_rs.validate(json.loads((chart / "values.schema.json").read_text()), values)
        else:
            load_text(block.text, file=str(block))
    for path in (ROOT / "docs" / "examples").glob("*.yaml"):
        _EXAMPLES.get(path.stem, load_file)(path)


def merged(defaults: Any, given: Any) -> Any:
    """As helm lays values over a chart's own."""
    if isinstance(defaults, dict) and isinstance(given, dict):
        return defaults | {name: merged(defaults.get(name), value) for name, value in given.items()}
    return given


def test_the_shortened_agent_says_what_the_whole_one_says() -> None:
    (block,) = (block for block in blocks("yaml") if block.page.name == "README.md")
    short, whole = load_text(block.text), load_file(ROOT / "docs" / "examples" / "refund-watcher.yaml")
    for field in ("name", "version", "category", "description", "triggers"):
        assert getattr(short, field) == getattr(whole, field)
    assert whole.system_prompt.startswith(short.system_prompt)
    for limit in yaml.safe_load(block.text)["limits"]:
        assert getattr(short.limits, limit) == getattr(whole.limits, limit)

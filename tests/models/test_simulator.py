"""The simulator itself: scripts, default answers, caching, its log, and as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import orjson
import pytest

from headrace.simulator.instances import find_schema, instance
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.support.simulator import script

KEY = {"authorization": "Bearer secret-of-the-test"}


def ask(
    sim: Simulator, text: str = "hello", *, system: str = "", wire: str = "openai", **extra: Any
) -> httpx2.Response:
    body: dict[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": text}], **extra}
    if wire == "openai":
        body["messages"].insert(0, {"role": "system", "content": system})
        return httpx2.post(f"{sim.openai_base_url}/chat/completions", json=body, headers=KEY)
    body |= {"max_tokens": 10} | ({"system": system} if system else {})
    return httpx2.post(f"{sim.anthropic_base_url}/v1/messages", json=body, headers=KEY)


def text_of(response: httpx2.Response) -> str:
    body = response.json()
    return str(body["choices"][0]["message"]["content"] if "choices" in body else body["content"][0]["text"])


def test_first_matching_rule_answers_and_times_runs_out(simulator: Simulator) -> None:
    simulator.play(
        script(
            {"match": {"last_user": "one"}, "reply": {"text": "first"}, "times": 2},
            {"match": {"model": "m-*", "last_user": "one"}, "reply": {"text": "second"}, "name": "named"},
            {"match": {"model": "other"}, "reply": {"text": "never"}},
        )
    )
    assert [text_of(ask(simulator, "one")) for _ in range(3)] == ["first", "first", "second"]
    assert text_of(ask(simulator, "two")) == "echo: two"
    assert [seen.rule for seen in simulator.requests] == ["0", "0", "named", "default"]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_same_request_same_bytes(simulator: Simulator, wire: str) -> None:
    assert ask(simulator, wire=wire).content == ask(simulator, wire=wire).content
    assert ask(simulator, "other", wire=wire).json()["id"] != ask(simulator, wire=wire).json()["id"]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_default_answer_satisfies_the_schema_in_the_prompt(simulator: Simulator, wire: str) -> None:
    schema = {"type": "object", "properties": {"risk": {"enum": ["low", "high"]}}, "required": ["risk"]}
    system = f'Example: {{"a": 1}}. Answer with JSON by this schema:\n{orjson.dumps(schema).decode()}\nNothing else.'
    assert text_of(ask(simulator, system=system, wire=wire)) == '{"risk": "low"}'


SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 12}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"type": ["null", "number"]}}},
    {"type": "array", "minItems": 2, "items": {"enum": [5, 6]}},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "number", "maximum": -2},
    {"type": "integer", "exclusiveMinimum": 4, "multipleOf": 3},
    {"type": "integer", "maximum": -5},
    {"type": "string", "maxLength": 3},
    {"type": "string", "format": "date-time"},
    {"const": {"x": [1]}},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"required": ["b"]}], "type": "object"},
    {"$defs": {"p": {"type": "object", "properties": {"q": {"type": "integer"}}}}, "$ref": "#/$defs/p"},
    {"type": "object", "additionalProperties": False},
    True,
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_instances_are_valid(schema: Any) -> None:
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(instance(schema))


def test_endless_schemas_end() -> None:
    loop = {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]}
    assert isinstance(instance(loop), dict)
    assert instance({"$ref": "#"}) is None
    assert instance({"$ref": "https://example.org/elsewhere"}) == {}


def test_last_schema_in_the_text_is_found() -> None:
    assert find_schema('{"properties": {"a": {}}} then {"properties": {"b": {}}} then {"c": {"d": 1}} {') == {
        "properties": {"b": {}}
    }
    assert find_schema("{" * 5_000) is None


@pytest.mark.parametrize("marked", [True, False])
def test_anthropic_caches_up_to_marks_only(simulator: Simulator, marked: bool) -> None:
    block = {"type": "text", "text": "s" * 8_000} | ({"cache_control": {"type": "ephemeral"}} if marked else {})
    usages = [ask(simulator, text, wire="anthropic", system=[block]).json()["usage"] for text in ("a", "b")]  # type: ignore[arg-type]
    written, read = usages[0]["cache_creation_input_tokens"], usages[1]["cache_read_input_tokens"]
    assert (written > 2_000, read == written, usages[0]["cache_read_input_tokens"]) == (marked, True, 0)


def test_openai_caches_by_itself_but_only_long_prefixes(simulator: Simulator) -> None:
    def cached(system: str) -> list[int]:
        usages = [ask(simulator, text, system=system).json()["usage"] for text in ("a", "b")]
        return [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]

    first, second = cached("s" * 8_000)
    assert (first, second > 2_000) == (0, True)
    assert cached("s" * 2_000) == [0, 0]


def test_log_redacts_and_counts(simulator: Simulator) -> None:
    for text in ("a", "a", "b"):
        ask(simulator, text)
    log = simulator.requests
    assert (log.total, len(log), sorted(log.by_conversation.values())) == (3, 3, [1, 2])
    assert log[0].body["messages"][-1]["content"] == "a"
    assert log[0].headers["authorization"] == "[redacted]"
    assert "secret-of-the-test" not in repr(list(log))
    shown = httpx2.get(f"{simulator.url}/simulator/requests")
    assert (len(shown.json()), "secret-of-the-test" in shown.text) == (3, False)
    assert httpx2.get(f"{simulator.url}/simulator/stats").json()["total"] == 3
    httpx2.post(f"{simulator.url}/simulator/reset")
    assert log.total == 0


def test_what_providers_refuse_is_refused(simulator: Simulator) -> None:
    path = f"{simulator.openai_base_url}/chat/completions"
    assert httpx2.post(path, json={}).status_code == 401
    assert httpx2.post(path, content=b"{", headers=KEY).status_code == 400
    assert httpx2.post(path, content=b"[]", headers=KEY).status_code == 400
    assert ask(simulator, wire="anthropic", messages=[{"role": "system", "content": "x"}]).status_code == 400
    assert httpx2.get(f"{simulator.url}/nowhere").status_code == 404


async def test_as_async_context_manager() -> None:
    async with Simulator(script({"reply": {"text": "hi"}})) as sim, httpx2.AsyncClient() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        answer = await client.post(f"{sim.openai_base_url}/chat/completions", json=body, headers=KEY)
        assert text_of(answer) == "hi"


@pytest.mark.parametrize(
    "text", ["rules: {", "rules: [{matsch: {}}]", "rules: [{reply: {status: 42}}]", "rules: [{reply: {fault: fire}}]"]
)
def test_bad_scripts_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"YAML|matsch|status|fault"):
        Script.load(path)


def test_as_a_process(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("rules:\n  - match: {last_user: ping}\n    reply: {text: pong}\n")
    command = [sys.executable, "-m", "headrace.simulator", "--port", "0", "--script", str(path), "--keep", "10"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    silent = threading.Timer(60, process.kill)
    silent.start()
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "running on" in line)
        url = line.split("running on ")[1].split()[0]
        body = {"model": "m", "messages": [{"role": "user", "content": "ping"}]}
        assert text_of(httpx2.post(f"{url}/v1/chat/completions", json=body, headers=KEY)) == "pong"
    finally:
        silent.cancel()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)


def test_unreadable_script_is_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace.simulator", "--script", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "none.yaml" in done.stderr) == (2, True)

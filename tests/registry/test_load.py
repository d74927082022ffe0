"""Loading definitions: what is wrong is said all at once, with file, line and path; YAML means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.messages.agent import AgentDefinition
from headrace.registry.load import InvalidDefinition, check, load_file, load_text
from headrace.toolspecs import SPECS

GOOD = """\
name: tester
version: 1.0.0
category: test
description: a test
system_prompt: be brief
"""


def problems(text: str, file: str | None = "a.yaml") -> list[str]:
    with pytest.raises(InvalidDefinition) as caught:
        load_text(text, file=file)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_definition() -> None:
    definition = load_text(GOOD + "tools: [execute_pipeline]\nhttp_domains: ['*.example.org', api.example.org]\n")
    assert (definition.name, definition.tools) == ("tester", ("execute_pipeline",))
    assert check(definition) == []


def test_json_is_accepted() -> None:
    text = '{"name": "a", "version": "1.0.0", "category": "c", "description": "d", "system_prompt": "p"}'
    assert load_text(text).name == "a"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2026-03-02", "2026-03-02"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("True", "True"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'true'", "true"),
    ],
)
def test_scalars_mean_what_they_say(written: str, read: Any) -> None:
    definition = load_text(GOOD + f"output_schema: {{enum: [{written}]}}\n")
    assert definition.output_schema["enum"] == [read]
    assert type(definition.output_schema["enum"][0]) is type(read)


def test_all_problems_come_at_once() -> None:
    text = """\
name: Tester
version: 1.0
category: test
description: a test
system_prompt: ''
trigger: []
limits:
  max_step: 3
  max_tokens: no
triggers:
  - type: a
  - source: b
    types: c
"""
    found = problems(text)
    assert {tuple(line.split(": ")[:2]) for line in found} == {
        ("a.yaml:1", "/name"),
        ("a.yaml:2", "/version"),
        ("a.yaml:5", "/system_prompt"),
        ("a.yaml:6", "/trigger"),
        ("a.yaml:8", "/limits/max_step"),
        ("a.yaml:9", "/limits/max_tokens"),
        ("a.yaml:12", "/triggers/1/type"),
        ("a.yaml:13", "/triggers/1/types"),
    }
    assert any("put it in quotes" in line for line in found)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        (
            "tools: [execute_pipeline, rm_rf]",
            f"a.yaml:6: /tools/1: unknown tool 'rm_rf'; there are: {', '.join(sorted(SPECS))}",
        ),
        ("http_domains: ['http://x.org']", "a.yaml:6: /http_domains/0: 'http://x.org' is not a host name"),
        ("http_domains: ['*']", "a.yaml:6: /http_domains/0: '*' is not a host name"),
        ("http_domains: ['*.org']", "a.yaml:6: /http_domains/0: '*.org' is not a host name"),
        ("triggers:\n- type: x\n  filter: 'a ||'", "a.yaml:8: /triggers/0/filter: not a filter"),
        ("triggers:\n- {type: x, filter: '!a.b'}", "a.yaml:7: /triggers/0/filter: not a filter: '!'"),
        ("input_schema: {type: strin}", "a.yaml:6: /input_schema: not a usable JSON Schema"),
        ("output_schema: {properties: {a: {minimum: x}}}", "a.yaml:6: /output_schema: not a usable JSON Schema"),
        ("output_schema: {pattern: '(?=a)b'}", "a.yaml:6: /output_schema: not a usable JSON Schema"),
        ("output_schema: {$ref: 'http://127.0.0.1:9/x'}", "a.yaml:6: /output_schema: not a usable JSON Schema"),
        ("output_schema: {$ref: 'file:///etc/hostname'}", "a.yaml:6: /output_schema: not a usable JSON Schema"),
        ("name: again", "a.yaml:6: key 'name' appears twice"),
        ("? [a]\n: b", "a.yaml:6: a key must be text"),
        ("x: [1", "a.yaml:7: did not find expected ',' or ']'"),
        ("x: !!python/object/apply:os.system [ls]", "a.yaml:6: could not determine a constructor"),
    ],
)
def test_a_problem_and_its_place(addition: str, expected: str) -> None:
    found = problems(GOOD + addition + "\n")
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    """A file that exists and would do is still refused."""
    other = tmp_path / "schema.json"
    other.write_text('{"type": "object"}')
    assert "must not fetch" in problems(GOOD + f"output_schema: {{$ref: '{other.as_uri()}'}}\n")[0]


def test_local_references_are_fine() -> None:
    load_text(GOOD + "output_schema: {$defs: {a: {type: string}}, properties: {x: {$ref: '#/$defs/a'}}}\n")


@pytest.mark.parametrize("text", ["", "- 1", "just text", "null"])
def test_what_is_no_mapping(text: str) -> None:
    assert "a definition is a mapping of fields" in problems(text)[0]


def test_bombs_are_refused() -> None:
    laughs = "\n".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9) if n else 'x'}]" for n in range(9))
    assert "more than 20000 parts" in problems(laughs)[0]
    assert "more than 20000 parts" in problems("a: &a [*a]")[0]
    assert "longer than" in problems("a: " + "x" * 300_000)[0]
    assert "nested deeper than" in problems("[" * 50_000)[0]
    assert "nested deeper than" in problems("\n".join(" " * n + "a:" for n in range(600)))[0]
    assert "nested deeper than" in problems("- " * 50_000)[0]


def test_a_file_is_named(tmp_path: Path) -> None:
    good, bad, binary = (tmp_path / name for name in ("good.yaml", "bad.yaml", "binary.yaml"))
    good.write_text(GOOD)
    bad.write_text(GOOD + "x: 1\n")
    binary.write_bytes(b"\xff\xfe")
    assert load_file(good).name == "tester"
    with pytest.raises(InvalidDefinition, match=r"bad\.yaml:6: /x: unknown field"):
        load_file(bad)
    with pytest.raises(InvalidDefinition, match=r"binary\.yaml: not UTF-8"):
        load_file(binary)


def test_check_holds_definitions_that_came_another_way() -> None:
    definition = AgentDefinition(
        name="a", version="1.0.0", category="c", description="d", system_prompt="p", tools=("nope",)
    )
    assert [str(problem) for problem in check(definition)] == [
        f"/tools/0: unknown tool 'nope'; there are: {', '.join(sorted(SPECS))}"
    ]

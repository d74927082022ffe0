"""Tables: compact on a terminal, whole in a pipe."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.cells import cell_len

from headrace.cli.definition_yaml import as_yaml
from headrace.cli.tables import cell, clipped, facts, printable, table
from headrace.messages.agent import AgentDefinition
from headrace.registry.builtin import builtin_definitions
from headrace.registry.load import load_text

COLUMNS = ("run", "event", "note", "ms")
ROWS = [("r" * 36, "com.example.something.happened", "long " * 30, 12), ("s" * 36, None, "two\nlines", 3)]


def test_in_a_pipe_each_row_is_one_line_with_everything() -> None:
    lines = table(COLUMNS, ROWS).splitlines()

    assert [line.split()[0] for line in lines] == ["run", "r" * 36, "s" * 36]
    assert ("long " * 30).strip() in lines[1]
    assert lines[2].split() == ["s" * 36, "-", "two", "lines", "3"]


def test_a_terminal_loses_spare_columns_first_then_the_ends_of_wide_cells() -> None:
    lines = table(COLUMNS, ROWS, width=80, whole=("run",), spare=("ms", "event")).splitlines()

    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[0].split() == ["run", "note"]
    assert lines[1].startswith("r" * 36)
    assert lines[1].endswith("…")
    assert lines[-1].startswith("(not shown: ms, event;")


def test_a_table_that_fits_is_left_alone() -> None:
    assert table(("a", "b"), [("1", "2")], width=80, spare=("a",)) == table(("a", "b"), [("1", "2")])


def test_wide_characters_count_as_what_they_take() -> None:
    lines = table(("text", "id"), [("漢字" * 40, "1")], width=40).splitlines()

    assert cell_len(lines[1]) <= 40
    assert lines[1].endswith("1")


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jred\x9b31m\r"

    for text in (printable(evil), cell(evil), cell({"a": evil}), table(("a",), [(evil,)]), facts([("a", evil)])):
        assert not set(text) & set("\x1b\x07\x9b\r")


def test_cells() -> None:
    assert cell(None) == "-"
    assert cell(0.12345) == "0.123"
    assert cell(True) == "True"
    assert cell({"a": [1]}) == '{"a":[1]}'
    assert cell(datetime(2026, 1, 2, tzinfo=UTC)).startswith("2026-01-0")


def test_facts_indent_and_wrap_their_values() -> None:
    text = facts([("name", "one two three four five six seven"), ("b", "x\ny")], width=20)

    assert text.splitlines() == ["name  one two three", "      four five six", "      seven", "b     x", "      y"]
    assert facts([("name", "x " * 100)]).count("\n") == 0


def test_a_line_is_clipped_to_a_terminal_only() -> None:
    assert clipped("x" * 100, 80) == "x" * 79 + "…"
    assert clipped("x" * 100, None) == "x" * 100
    assert clipped("x", 80) == "x"


def test_an_agent_as_yaml_is_read_back_as_the_same_agent() -> None:
    tricky = AgentDefinition(
        name="tricky",
        version="1.0.0",
        category="1e5",
        description="no",
        system_prompt=" leading: space\n\ttab # and\n---\ntrailing \n",
        output_schema={
            "type": "object",
            "properties": {"010": {"const": "007"}, "null": {"enum": ["true", "~", "0x1f"]}},
        },
    )
    for definition in (*builtin_definitions(), tricky):
        assert load_text(as_yaml(definition)) == definition

"""Final answers: finding the JSON, reading it strictly, and saying by path what is wrong."""

from __future__ import annotations

import pytest

from headrace.messages.errors import UndecodableMessage
from headrace.reasoning.structured import Answer, Broken, extract_json, judge
from headrace.registry.schemas import compile_schema
from tests.reasoning.bench import VERDICT_SCHEMA

VALIDATOR = compile_schema(VERDICT_SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        '{"risk": "low"}',
        '  \n{"risk": "low"}\n',
        '```json\n{"risk": "low"}\n```',
        '```\n{"risk": "low"}```',
        'Here it is:\n```json\n{"risk": "low"}\n```\nAnything else?',
        'My verdict is {"risk": "low"} as asked.',
    ],
)
def test_the_value_is_found_plain_fenced_and_amid_prose(text: str) -> None:
    assert judge(text, VALIDATOR) == Answer({"risk": "low"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json here", "not JSON"),
        ('{"risk": "low", "risk": "high"}', "duplicate key"),
        ('{"risk": 1e999}', "number too large"),
        ("[" * 5_000 + "]" * 5_000, "nested deeper"),
        ('{"risk": "\\ud800"}', "lone surrogate"),
        ('{"risk": NaN}', "NaN is not JSON"),
    ],
)
def test_json_is_read_strictly(text: str, reason: str) -> None:
    with pytest.raises(UndecodableMessage, match=reason):
        extract_json(text)


def test_violations_are_named_by_path_to_the_model_and_to_the_caller() -> None:
    broken = judge('{"risk": "medium", "note": 3}', VALIDATOR)
    assert isinstance(broken, Broken)
    assert broken.error.type == "output_schema"
    for text in (broken.repair, broken.error.message):
        assert "/risk: " in text
        assert "/note: " in text


def test_what_looks_like_a_secret_is_not_quoted() -> None:
    broken = judge('{"risk": "sk-abcdefghijklmnop"}', VALIDATOR)
    assert isinstance(broken, Broken)
    assert "abcdefghijklmnop" not in broken.repair + broken.error.message
    assert "/risk" in broken.error.message


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_an_empty_answer_is_no_answer_even_without_a_schema(text: str | None) -> None:
    broken = judge(text, None)
    assert isinstance(broken, Broken)
    assert broken.error.type == "empty_answer"


def test_without_a_schema_any_text_is_the_answer() -> None:
    assert judge("Looks fine.", None) == Answer("Looks fine.")

"""Final answers: the JSON value in a model's text, and whether it satisfies the agent's output schema. Pure.

A model's text is as untrusted as any other input: it is parsed strictly and within bounds, and what is wrong with it
is said by path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from headrace.messages import strict_json
from headrace.messages.errors import UndecodableMessage
from headrace.messages.result import ResultError
from headrace.observe.logging import redact_text

MAX_ANSWER_CHARS: Final = 32 * 1024 * 1024
MAX_VIOLATIONS: Final = 8
_MAX_TEXT: Final = 200
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    value: Any


@dataclass(frozen=True, slots=True)
class Broken:
    """``repair`` is for the model, ``error`` for the caller."""

    repair: str
    error: ResultError


def judge(text: str | None, validator: jsonschema_rs.Validator | None) -> Answer | Broken:
    """Whether ``text`` is an answer; without a validator any text that is not blank is."""
    if not text or not text.strip():
        return _broken("empty_answer", ["the answer is empty"])
    if validator is None:
        return Answer(text)
    try:
        value = extract_json(text)
    except UndecodableMessage as error:
        return _broken("output_schema", [str(error)])
    found = violations(validator, value)
    return _broken("output_schema", found) if found else Answer(value)


def extract_json(text: str) -> Any:
    """The one JSON value of an answer: plain, in a code fence, or an object amid prose.

    Raises:
        UndecodableMessage: why the text as a whole is not JSON, when none of these is.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise UndecodableMessage(f"longer than {MAX_ANSWER_CHARS} characters", cause="json_size")
    first: UndecodableMessage | None = None
    for candidate in _candidates(text.strip()):
        try:
            return strict_json.loads(candidate.encode("utf-8", "surrogatepass"))
        except UndecodableMessage as error:
            first = first or error
    raise first or UndecodableMessage("no JSON in the answer", cause="json")


def violations(validator: jsonschema_rs.Validator, value: Any) -> list[str]:
    """What breaks the schema, as ``/path: reason``; at most ``MAX_VIOLATIONS``, each bounded, nothing like a secret
    in it.
    """
    found: list[str] = []
    for error in validator.iter_errors(value):
        if len(found) == MAX_VIOLATIONS:
            break
        found.append(f"{pointer(error.instance_path)}: {redact_text(error.message)[:_MAX_TEXT]}")
    return found


def pointer(path: list[str | int]) -> str:
    """JSON pointer of a path; ``/`` for the whole value."""
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1")[:64] for part in path)


def _candidates(text: str) -> Iterator[str]:
    yield text
    yield from (match.group(1) for match in _FENCE.finditer(text))
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        yield text[start : end + 1]


def _broken(type_: str, found: list[str]) -> Broken:
    listed = "\n".join(f"- {item}" for item in found)
    repair = (
        f"That answer can't be used:\n{listed}\nAnswer again, completely, in the form that your instructions ask for."
    )
    return Broken(repair=repair, error=ResultError(type=type_, message="; ".join(found)[:1_000], retryable=True))

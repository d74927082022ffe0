"""``OfflineModel``: the model port over rule tables.

It is a stand-in and says so: its name is ``offline``, every text that it writes starts with ``[offline rules, no model]``, it uses
no tokens and costs nothing. The same request always gets the same reply. It reads ``ModelRequest.facts``, which the other adapters
ignore, and answers by the agent's name:

    a built-in event agent      the rules of its module, as JSON under its output schema
    any other with a schema     the least instance of the schema, with the remark where a text may stand
    execute_pipeline offered    a pipeline from the prompt, on the URL in it or the session's last result; then its rows in words
    anything else               a sentence that says what is missing: a model
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from headrace.messages.canonical import canonical_json
from headrace.messages.run import CallRequest, Usage
from headrace.models import ModelReply, ModelRequest
from headrace.models.offline import alerts, ci, issues, minimal, pipelines, pull_requests, releases, security
from headrace.models.offline.facts import REMARK, Facts
from headrace.registry.schemas import InvalidSchema, compile_schema

NAME: Final = "offline"
_PLACEHOLDER: Final = (
    f"{REMARK}No language model is configured, so this is a placeholder: set a model key to get an answer."
)
_NO_URL: Final = (
    f"{REMARK}I know prompts like: fetch rows from https://example.org/rows.json, sort by price, show top 3."
)
_SESSION: Final = re.compile(r"^Session id for tools: (\S{1,256})$", re.M)
_PREVIOUS: Final = re.compile(r"^Previous result available at: (cas://sha256:[0-9a-f]{64})$", re.M)

Rules = Callable[[Facts], dict[str, Any]]


class OfflineModel:
    """See the module. ``complete`` never fails and never waits."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        if request.output_schema:
            answer = _structured(request, request.output_schema)
            return _reply(canonical_json(answer).decode())
        if any(tool.name == pipelines.TOOL for tool in request.tools):
            return _pipeline_turn(request)
        return _reply(_PLACEHOLDER)

    async def close(self) -> None:
        """Nothing is held."""


def _structured(request: ModelRequest, schema: dict[str, Any]) -> Any:
    """The rules' answer if the schema takes it, else the least instance: a definition may have been edited."""
    event = request.facts.get("event")
    rules = RULES.get(str(request.facts.get("agent")))
    if rules and isinstance(event, dict):
        answer = rules(Facts(event))
        if _is_valid(schema, answer):
            return answer
    return minimal.instance(schema, _PLACEHOLDER)


def _is_valid(schema: dict[str, Any], answer: Any) -> bool:
    try:
        return bool(compile_schema(schema).is_valid(answer))
    except InvalidSchema:
        return False


def _pipeline_turn(request: ModelRequest) -> ModelReply:
    last = request.entries[-1] if request.entries else None
    if last is not None and last.role == "tool":
        return _reply(pipelines.describe(last.content, is_error=last.is_error))
    text = next((entry.content for entry in reversed(request.entries) if entry.role == "user" and entry.content), "")
    prompt = request.facts.get("prompt") or _SESSION.split(text)[0]
    work = _fetching(str(prompt)) or _going_on(str(prompt), text)
    if work is None:
        return _reply(_NO_URL)
    session = _SESSION.search(text)
    arguments = {"session_id": session[1] if session else NAME, **work}
    return _reply(None, CallRequest(id=f"offline-{len(request.entries)}", name=pipelines.TOOL, arguments=arguments))


def _fetching(prompt: str) -> dict[str, Any] | None:
    pipeline = pipelines.parse(prompt)
    return {"pipeline": pipeline} if pipeline else None


def _going_on(prompt: str, text: str) -> dict[str, Any] | None:
    """What is asked of the result that the session has, if there is one."""
    previous, steps = _PREVIOUS.search(text), pipelines.steps(prompt)
    return {"input_ref": previous[1], "pipeline": steps} if previous and steps else None


def _reply(text: str | None, *calls: CallRequest) -> ModelReply:
    return ModelReply(
        text=text, tool_calls=calls, usage=Usage(), model=NAME, stop_reason="tool_use" if calls else "end_turn"
    )


RULES: Final[dict[str, Rules]] = {
    "pr-risk-reviewer": pull_requests.assess,
    "ci-failure-triager": ci.assess,
    "alert-summariser": alerts.assess,
    "security-alert-assessor": security.assess,
    "issue-classifier": issues.assess,
    "release-note-drafter": releases.assess,
}

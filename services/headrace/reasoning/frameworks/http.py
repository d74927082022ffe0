"""``http``: a service of anybody's takes the turns, by a contract of two JSON documents (``docs/runtimes.md``).

    POST runtime_url   who runs, the conversation, the tools that may be asked for, what the answer has to be
    200                {"text"}, or {"tool_calls": [{"name", "arguments"}]}; and what it used

It sees what a model would see, and no more. Its URL is its definition's, so it is reached through the egress guard, and its
host alone is allowed; redirects are refused. The idempotency key is the same when a turn is asked for again.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from headrace.egress import EgressDenied, EgressFailed, GuardedClient, GuardedResponse
from headrace.messages import ids, strict_json
from headrace.messages.base import JsonObject
from headrace.messages.errors import BadMessage
from headrace.messages.run import CallRequest, Entry, Usage
from headrace.models import ModelReply
from headrace.models.failures import from_status
from headrace.models.retry import AttemptFailed, RetryPolicy
from headrace.reasoning.frameworks import Turn, failed

VERSION: Final = "1.0"
_MAX_CALLS: Final = 128
_MAX_NAME: Final = 200


class _Call(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any] = {}


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    model_calls: int = 1


class Answer(msgspec.Struct, frozen=True):
    """What a service answers with. ``model`` is the name of what it asked, for the run's record."""

    text: str | None = None
    tool_calls: tuple[_Call, ...] = ()
    usage: _Usage = _Usage()
    model: str = ""


class HttpRuntime:
    """A ``Framework``."""

    def __init__(self, client: GuardedClient, retry: RetryPolicy | None = None) -> None:
        self._client = client
        self._retry = retry or RetryPolicy()

    async def take(self, turn: Turn) -> ModelReply:
        url = turn.definition.runtime_url
        host = urlsplit(url or "").hostname
        if not url or not host:
            raise failed("the definition has no runtime_url", "not_configured")
        body = question(turn)
        key = ids.call_key(turn.run.tenant, turn.run.run_id, len(turn.request.entries), "turn")

        async def attempt(left_s: float) -> Answer:
            return await self._ask(url, host, body, key, left_s)

        answer, tries = await self._retry.run(attempt, turn.request.timeout_s)
        return _reply(answer, host)._replace(attempts=tries)

    async def _ask(self, url: str, host: str, body: JsonObject, key: str, left_s: float) -> Answer:
        headers = {"idempotency-key": key}
        try:
            response = await self._client.request(
                "POST", url, domains=(host,), json=body, headers=headers, timeout_s=left_s
            )
        except EgressDenied as error:
            raise AttemptFailed(f"the runtime may not be called: {error}", "not_configured") from None
        except EgressFailed as error:
            raise AttemptFailed(str(error), "connection") from None
        if response.status != 200:
            raise from_status(response.status, response.headers, None, secret="")
        return _answer(response)


def question(turn: Turn) -> JsonObject:
    """The body of the request."""
    run, request = turn.run, turn.request
    return {
        "version": VERSION,
        "run": {
            "tenant": run.tenant,
            "run_id": run.run_id,
            "agent": run.agent.name,
            "agent_version": run.agent.version,
            "user_id": run.user_id,
            "session_id": run.session_id,
            "deadline_ms": run.deadline_ms,
        },
        "model": run.model,
        "system": request.system,
        "messages": [_message(entry) for entry in request.entries],
        "tools": [tool._asdict() for tool in request.tools],
        "output_schema": request.output_schema,
        "max_output_tokens": request.max_output_tokens,
    }


def _message(entry: Entry) -> JsonObject:
    message: JsonObject = {"role": entry.role, "content": entry.content}
    if entry.role == "assistant":
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in entry.tool_calls]
        message["tool_calls"] = calls
    elif entry.role == "tool":
        message |= {"call_id": entry.call_id, "tool": entry.tool, "is_error": entry.is_error}
    return message


def _answer(response: GuardedResponse) -> Answer:
    try:
        answer = msgspec.convert(strict_json.loads(response.body), Answer)
    except (BadMessage, msgspec.ValidationError) as error:
        reason = error.cause if isinstance(error, BadMessage) else str(error)[:200]
        raise AttemptFailed(f"{response.host} gave no answer of the contract: {reason}", "bad_response") from None
    if len(answer.tool_calls) > _MAX_CALLS or any(len(call.name) > _MAX_NAME for call in answer.tool_calls):
        raise AttemptFailed(f"{response.host} asked for too many tool calls, or by names too long", "bad_response")
    return answer


def _reply(answer: Answer, host: str) -> ModelReply:
    used = answer.usage
    calls = tuple(
        CallRequest(id=f"call_{index}", name=call.name, arguments=call.arguments)
        for index, call in enumerate(answer.tool_calls)
    )
    usage = Usage(
        input_tokens=max(0, used.input_tokens),
        output_tokens=max(0, used.output_tokens),
        cost_usd=max(0.0, used.cost_usd),
        model_calls=max(1, used.model_calls),
    )
    return ModelReply(
        text=answer.text,
        tool_calls=calls,
        usage=usage,
        model=answer.model[:_MAX_NAME] or f"http:{host}",
        stop_reason="tool_use" if calls else "end_turn",
    )

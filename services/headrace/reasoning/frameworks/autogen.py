"""``autogen``: the conversation as the context of an AutoGen ``AssistantAgent`` whose model is the mesh's.

The agent is told of the tools and runs none: its turn is left at the event by which it says what it is about to call. The calls
leave as a record, and the next turn's agent finds their outcomes in its context, on whatever reasoner.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any, Final

import orjson
from autogen_agentchat import EVENT_LOGGER_NAME as CHAT_EVENTS
from autogen_agentchat import TRACE_LOGGER_NAME as CHAT_TRACE
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import ToolCallRequestEvent
from autogen_core import EVENT_LOGGER_NAME, TRACE_LOGGER_NAME, CancellationToken, FunctionCall
from autogen_core.model_context import UnboundedChatCompletionContext
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    ModelFamily,
    ModelInfo,
    RequestUsage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import StaticWorkbench, ToolSchema

from headrace.messages.run import CallRequest, Entry, Usage
from headrace.models import ModelError, ModelReply, ToolSpec
from headrace.reasoning.frameworks import Turn, failed

_AGENT: Final = "agent"  # AutoGen wants an identifier, which names of agents need not be
_USER: Final = "user"
_INFO: Final = ModelInfo(
    vision=False, function_calling=True, json_output=True, structured_output=True, family=ModelFamily.UNKNOWN
)

for _name in (CHAT_EVENTS, CHAT_TRACE, EVENT_LOGGER_NAME, TRACE_LOGGER_NAME):
    logging.getLogger(_name).disabled = True  # they quote the conversation


class AutoGen:
    """A ``Framework``."""

    async def take(self, turn: Turn) -> ModelReply:
        agent = AssistantAgent(
            _AGENT,
            _Model(turn),
            workbench=_Told(turn.request.tools),
            model_context=UnboundedChatCompletionContext(_messages(turn.request.entries)),
            system_message=turn.request.system,
        )
        try:
            async with aclosing(agent.on_messages_stream([], CancellationToken())) as events:
                return await _turn(turn, events)
        except ModelError:
            raise
        except Exception as error:
            raise failed(f"the AutoGen agent failed: {type(error).__name__}") from None


async def _turn(turn: Turn, events: AsyncGenerator[Any, None]) -> ModelReply:
    """The first event that ends the turn; the model's reply has the calls as they came."""
    async for event in events:
        reply = turn.last
        if reply is not None and isinstance(event, ToolCallRequestEvent):
            return reply._replace(usage=turn.usage)
        if reply is not None and isinstance(event, Response):
            return reply._replace(text=event.chat_message.to_text() or None, tool_calls=(), usage=turn.usage)
    raise failed("the AutoGen agent ended without an answer of its model")


class _Told(StaticWorkbench):  # type: ignore[misc]  # the package's types are not there to be checked
    """Tools that the agent is told of. It has none that it could run."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        super().__init__([])
        self._told = [ToolSchema(**tool._asdict()) for tool in tools]

    async def list_tools(self) -> list[ToolSchema]:
        return self._told


class _Model(ChatCompletionClient):  # type: ignore[misc]
    """The run's model as AutoGen asks one."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def create(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[ToolSchema] = (), **_: Any
    ) -> CreateResult:
        told = {tool["name"] for tool in tools}
        request = self._turn.request
        reply = await self._turn.ask(
            request._replace(
                system="\n\n".join(message.content for message in messages if isinstance(message, SystemMessage)),
                entries=tuple(_entries(messages)),
                tools=tuple(tool for tool in request.tools if tool.name in told),
            )
        )
        calls = _function_calls(reply.tool_calls)
        return CreateResult(
            finish_reason="function_calls" if calls else "stop",
            content=calls or reply.text or "",
            thought=reply.text if calls else None,
            usage=_usage(reply.usage),
            cached=False,
        )

    def create_stream(self, messages: Sequence[LLMMessage], **options: Any) -> AsyncGenerator[str | CreateResult, None]:
        raise NotImplementedError("what the model writes is told by the mesh, while it writes")

    def actual_usage(self) -> RequestUsage:
        return _usage(self._turn.usage)

    total_usage = actual_usage

    def count_tokens(self, messages: Sequence[LLMMessage], **_: Any) -> int:
        raise NotImplementedError("only a bounded context counts, and the mesh bounds it")

    remaining_tokens = count_tokens

    async def close(self) -> None:
        """The model is the reasoner's."""

    @property
    def capabilities(self) -> ModelInfo:
        return _INFO

    model_info = capabilities


def _usage(used: Usage) -> RequestUsage:
    return RequestUsage(prompt_tokens=used.input_tokens, completion_tokens=used.output_tokens)


# --- the conversation, there and back ------------------------------------------------------------------------------------


def _messages(entries: Iterable[Entry]) -> list[LLMMessage]:
    """Outcomes of one turn's calls are one message of AutoGen's."""
    messages: list[LLMMessage] = []
    for role, group in groupby(entries, lambda entry: entry.role):
        if role == "tool":
            messages.append(FunctionExecutionResultMessage(content=[_result(entry) for entry in group]))
        elif role == "assistant":
            messages += map(_assistant, group)
        else:
            messages += (UserMessage(content=entry.content or "", source=_USER) for entry in group)
    return messages


def _assistant(entry: Entry) -> AssistantMessage:
    calls = _function_calls(entry.tool_calls)
    thought = entry.content if calls else None
    return AssistantMessage(content=calls or entry.content or "", thought=thought, source=_AGENT)


def _function_calls(calls: Iterable[CallRequest]) -> list[FunctionCall]:
    return [FunctionCall(id=call.id, name=call.name, arguments=orjson.dumps(call.arguments).decode()) for call in calls]


def _result(entry: Entry) -> FunctionExecutionResult:
    return FunctionExecutionResult(
        content=entry.content or "", name=entry.tool or "", call_id=entry.call_id or "", is_error=entry.is_error
    )


def _entries(messages: Iterable[LLMMessage]) -> Iterator[Entry]:
    for message in messages:
        if isinstance(message, FunctionExecutionResultMessage):
            yield from map(_outcome, message.content)
        elif isinstance(message, AssistantMessage):
            yield _said(message)
        elif isinstance(message, UserMessage):
            yield Entry(role="user", content=message.content)


def _outcome(result: FunctionExecutionResult) -> Entry:
    error = bool(result.is_error)
    return Entry(role="tool", content=result.content, call_id=result.call_id, tool=result.name, is_error=error)


def _said(message: AssistantMessage) -> Entry:
    if isinstance(message.content, str):
        return Entry(role="assistant", content=message.content)
    calls = tuple(_call(call) for call in message.content)
    return Entry(role="assistant", content=message.thought, tool_calls=calls)


def _call(call: FunctionCall) -> CallRequest:
    arguments: Mapping[str, Any] = orjson.loads(call.arguments)
    return CallRequest(id=call.id, name=call.name, arguments=dict(arguments))


ADAPTER: Final = AutoGen()

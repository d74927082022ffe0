"""``langgraph``: the conversation as the messages of a graph whose model is the mesh's.

The graph ends where its model asks for tools: the calls leave as a record, and their outcomes come back as tool messages of
the next turn's graph, on whatever reasoner. So nothing is checkpointed but the conversation, which the mesh keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from headrace.messages.run import CallRequest, Entry
from headrace.models import ModelError, ModelReply
from headrace.reasoning.frameworks import Turn, failed

_MODEL: Final = "model"


class LangGraph:
    """A ``Framework``."""

    async def take(self, turn: Turn) -> ModelReply:
        async def ask(state: MessagesState) -> dict[str, list[AnyMessage]]:
            entries = _entries(state["messages"])
            reply = await turn.ask(turn.request._replace(entries=entries))
            return {"messages": [_said(reply)]}

        graph = StateGraph(MessagesState)
        graph.add_node(_MODEL, ask)
        graph.add_edge(START, _MODEL)
        graph.add_edge(_MODEL, END)
        try:
            ended = await graph.compile().ainvoke({"messages": _messages(turn.request.entries)})
        except ModelError:
            raise
        except Exception as error:
            raise failed(f"the graph failed: {type(error).__name__}") from None
        return _turn(turn, ended["messages"][-1])


def _turn(turn: Turn, last: Any) -> ModelReply:
    """The graph's last message is the turn; its model's reply has the calls as they came."""
    reply = turn.last
    if reply is None or not isinstance(last, AIMessage):
        raise failed("the graph ended without an answer of its model")
    text = last.content if isinstance(last.content, str) else str(last.text)
    return reply._replace(text=text or None, tool_calls=reply.tool_calls if last.tool_calls else (), usage=turn.usage)


def _messages(entries: Sequence[Entry]) -> list[AnyMessage]:
    return [_MESSAGES[entry.role](entry) for entry in entries]


def _user(entry: Entry) -> HumanMessage:
    return HumanMessage(entry.content or "")


def _assistant(entry: Entry) -> AIMessage:
    calls = [{"name": call.name, "args": call.arguments, "id": call.id} for call in entry.tool_calls]
    return AIMessage(entry.content or "", tool_calls=calls)


def _tool(entry: Entry) -> ToolMessage:
    status = "error" if entry.is_error else "success"
    return ToolMessage(entry.content or "", tool_call_id=entry.call_id or "", name=entry.tool, status=status)


_MESSAGES: Final[dict[str, Any]] = {"user": _user, "assistant": _assistant, "tool": _tool}


def _entries(messages: Sequence[AnyMessage]) -> tuple[Entry, ...]:
    return tuple(_entry(message) for message in messages if not isinstance(message, SystemMessage))


def _entry(message: AnyMessage) -> Entry:
    text = message.content if isinstance(message.content, str) else str(message.text)
    if isinstance(message, ToolMessage):
        error = message.status == "error"
        return Entry(role="tool", content=text, call_id=message.tool_call_id, tool=message.name, is_error=error)
    if isinstance(message, AIMessage):
        calls = tuple(
            CallRequest(id=call["id"] or "", name=call["name"], arguments=call["args"]) for call in message.tool_calls
        )
        return Entry(role="assistant", content=(text or None) if calls else text, tool_calls=calls)
    return Entry(role="user", content=text)


def _said(reply: ModelReply) -> AIMessage:
    calls = [{"name": call.name, "args": call.arguments, "id": call.id} for call in reply.tool_calls]
    return AIMessage(reply.text or "", tool_calls=calls)


ADAPTER: Final = LangGraph()

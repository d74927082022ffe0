"""``crewai``: a CrewAI agent made of the definition (role, goal and backstory), whose model is the mesh's.

CrewAI words the system prompt and reads the answer out of what the model wrote. It would read tool calls out of that text as
well, so that a text which quotes ``Action:`` would be one. Here tools are offered to the model itself, and a turn that asks for
some is over for CrewAI. Whatever the model says is therefore its final answer, and its loop asks once.

CrewAI blocks, so each turn has a thread, and its model is asked on the reasoner's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from headrace.messages.run import Entry
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.reasoning.frameworks import Turn, failed
from headrace.reasoning.frameworks.crewai_quiet import Agent, BaseLLM

_AT_ONCE: Final = 256  # turns of a reasoner that may wait for their model; further ones wait for a thread
_FINAL: Final = "Final Answer:"
_ROLES: Final = {"user": "user", "assistant": "assistant", "tool": "user"}  # CrewAI knows no other


class CrewAI:
    """A ``Framework``."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="crewai")

    async def take(self, turn: Turn) -> ModelReply:
        loop = asyncio.get_running_loop()
        model = _Model(turn, loop)
        try:
            answer = await loop.run_in_executor(self._threads, copy_context().run, _answer, turn, model)
        except Exception as error:
            raise failed(f"the CrewAI agent failed: {type(error).__name__}") from None
        finally:
            model.leave()
        return _turn(turn, model, answer)


def _answer(turn: Turn, model: _Model) -> str:
    """The turn as CrewAI takes it, in a thread of its own."""
    definition, request = turn.definition, turn.request
    agent = Agent(role=definition.name, goal=definition.description, backstory=request.system, llm=model)
    answer: str = agent.kickoff(_messages(request.entries)).raw
    return answer


def _messages(entries: Sequence[Entry]) -> list[dict[str, str]]:
    return [{"role": _ROLES[entry.role], "content": entry.content or ""} for entry in entries]


def _turn(turn: Turn, model: _Model, answer: str) -> ModelReply:
    if model.error is not None:
        raise model.error
    reply = turn.last
    if reply is None:
        raise failed("the CrewAI agent ended without an answer of its model")
    return reply._replace(text=reply.text if reply.tool_calls else answer or None, usage=turn.usage)


class _Model(BaseLLM):  # type: ignore[misc]  # the package's types are not there to be checked
    """The run's model as CrewAI asks one: from its thread. An error is kept, since CrewAI would go by its text."""

    def __init__(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(turn.run.model)
        self.error: ModelError | None = None
        self._turn = turn
        self._loop = loop
        self._asking: asyncio.Task[Any] | None = None
        self._is_left = False

    def call(self, messages: Sequence[dict[str, Any]], *_: Any, **__: Any) -> str:
        """What CrewAI takes as its final answer. ``messages`` are the system prompt as CrewAI words it, and the conversation."""
        request = self._turn.request._replace(system=messages[0]["content"])
        try:
            text = asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result().text or ""
        except ModelError as error:
            self.error = error
            text = ""
        except CancelledError:
            text = ""  # and nobody waits for it
        return text if _FINAL in text else f"{_FINAL} {text}"

    def leave(self) -> None:
        """The turn is over, perhaps by a deadline: a thread that waits stops waiting, and none asks any more. On the event loop."""
        self._is_left = True
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, request: ModelRequest) -> ModelReply:
        if self._is_left:
            raise asyncio.CancelledError
        self._asking = asyncio.current_task()
        return await self._turn.ask(request)


ADAPTER: Final = CrewAI()

"""``headrace results``"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Annotated, Any

import orjson
from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.cli.output import note, print_json_line, print_line
from headrace.cli.target import JsonFlag, Target, blobs_of, run_async
from headrace.messages.errors import BadMessage
from headrace.messages.result import AgentResult
from headrace.runtime.tail import Tail, TailRecord
from headrace.runtime.wire import Wire

app = App(name="results", help="Results of agent runs, straight from the topic.", help_format="markdown")

_NOWHERE = Target()


@app.command
def tail(
    *,
    from_beginning: Annotated[bool, Parameter(negative=())] = False,
    count: Annotated[int | None, Parameter(name=("--count", "-n"), validator=Number(gte=1))] = None,
    agent: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Print results as they are committed to `agent.results`, until Ctrl-C.

    Example: `headrace results tail --from-beginning -n 5 --json | jq .output`

    Parameters
    ----------
    from_beginning
        Start with the oldest result instead of the next one.
    count
        Stop after so many.
    agent
        Only of this agent.
    json
        Print a JSON document a line.
    """
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        run_async(_until_stopped(_tail(target, from_beginning, count, agent, json)))


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends it as Ctrl-C does."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def _tail(target: Target, from_beginning: bool, count: int | None, agent: str | None, json: bool) -> None:
    settings = target.settings()
    shown = 0
    async with blobs_of(settings) as blobs:
        wire = Wire("cli", settings, blobs)
        await wire.open()
        try:
            start = "beginning" if from_beginning else "end"
            async with Tail(settings, [AgentResult.TOPIC], start=start) as records:  # type: ignore[arg-type]
                note(f"following {AgentResult.TOPIC} from its {start}; Ctrl-C ends this")
                async for record in records:
                    result = await _decode(wire, record)
                    if result is None or (agent is not None and result.agent_name != agent):
                        continue
                    if json:
                        print_json_line(result.plain(nulls=False))
                    else:
                        print_line(_line(result))
                    shown += 1
                    if count is not None and shown >= count:
                        return
        finally:
            await wire.close()


async def _decode(wire: Wire, record: TailRecord) -> AgentResult | None:
    try:
        message = await wire.decode(record.topic, record.key, record.value, record.headers)
    except BadMessage:
        return None  # persistence dead-letters it with its cause
    return message if isinstance(message, AgentResult) else None


def _line(result: AgentResult) -> str:
    agent = f"{result.agent_name}@{result.agent_version}"
    facts = (result.status, result.job_id, agent, result.event_type, result.metadata.llm_model)
    return "  ".join((*(fact for fact in facts if fact), _answer(result)))


def _answer(result: AgentResult) -> str:
    value: Any = result.error.plain() if result.error else result.output or result.result_ref
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return " ".join(text.split())

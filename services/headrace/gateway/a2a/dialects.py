"""What each version of A2A calls things: methods, states, parts, and the frame around an answer. Pure.

The names are those of the specifications, 0.3.0 and 1.0. A caller is answered in the version whose method name it used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from headrace.gateway.ports import JsonDict

Action = Literal["send", "get", "cancel"]
State = Literal["submitted", "working", "completed", "failed", "canceled"]

_STATES: Final[Mapping[str, State]] = MappingProxyType(
    {
        "accepted": "submitted",
        "pending": "submitted",
        "running": "working",
        "completed": "completed",
        "failed": "failed",
    }
)


class NotUnderstood(ValueError):
    """Params that are not what the method takes; the text says what would be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message to an agent: ``prompt`` or ``input``. ``wait``: the caller wants the task when it has ended."""

    message_id: str
    context_id: str | None
    task_id: str | None
    prompt: str | None
    input: Any
    wait: bool


@dataclass(frozen=True, slots=True)
class Dialect:
    """``tagged``: objects say their kind in a field, as 0.3 has it."""

    version: str
    methods: Mapping[str, Action]
    tagged: bool

    def asked(self, params: Any) -> Asked:
        """The message of ``send``. Raises ``NotUnderstood``."""
        message = _object(_object(params, "params").get("message"), "params.message")
        texts, values = _parts(message.get("parts"))
        if len(values) + bool(texts) != 1:
            raise NotUnderstood("params.message.parts: give text, or one part of data")
        configuration = _object(params.get("configuration") or {}, "params.configuration")
        wait = configuration.get("blocking") is not False if self.tagged else not configuration.get("returnImmediately")
        return Asked(
            message_id=_text(message.get("messageId"), "params.message.messageId"),
            context_id=_text(message["contextId"], "params.message.contextId") if message.get("contextId") else None,
            task_id=_text(message["taskId"], "params.message.taskId") if message.get("taskId") else None,
            prompt="\n".join(texts) if texts else None,
            input=values[0] if values else None,
            wait=wait,
        )

    def task_id(self, params: Any) -> str:
        """The task of ``get`` and ``cancel``. Raises ``NotUnderstood``."""
        return _text(_object(params, "params").get("id"), "params.id")

    def answer(self, action: Action, run: JsonDict) -> JsonDict:
        """The result: the task that ``run`` is."""
        task = self._task(run)
        return task if self.tagged or action != "send" else {"task": task}

    def _task(self, run: JsonDict) -> JsonDict:
        run_id = str(run["run_id"])
        context = str(run.get("session_id") or run_id)
        status: JsonDict = {"state": self._state(run)}
        task: JsonDict = {"id": run_id, "contextId": context, "status": status}
        if error := run.get("error"):
            said = self._part(f"{error.get('type')}: {error.get('message')}")
            role = "agent" if self.tagged else "ROLE_AGENT"
            status["message"] = self._kind("message") | {
                "messageId": f"{run_id}-status",
                "role": role,
                "parts": [said],
            }
        elif "output" in run:
            task["artifacts"] = [{"artifactId": f"{run_id}-output", "parts": [self._part(run["output"])]}]
        return self._kind("task") | task

    def _state(self, run: JsonDict) -> str:
        state = _STATES[str(run["state"])]
        if (run.get("error") or {}).get("type") == "cancelled":
            state = "canceled"
        return state if self.tagged else f"TASK_STATE_{state.upper()}"

    def _part(self, value: Any) -> JsonDict:
        if isinstance(value, str):
            return {"kind": "text", "text": value} if self.tagged else {"text": value}
        if not self.tagged:
            return {"data": value}
        return {"kind": "data", "data": value if isinstance(value, dict) else {"value": value}}

    def _kind(self, kind: str) -> JsonDict:
        return {"kind": kind} if self.tagged else {}


V03: Final = Dialect("0.3", {"message/send": "send", "tasks/get": "get", "tasks/cancel": "cancel"}, tagged=True)
V10: Final = Dialect("1.0", {"SendMessage": "send", "GetTask": "get", "CancelTask": "cancel"}, tagged=False)
DIALECTS: Final = (V10, V03)


def dialect_of(method: str) -> tuple[Dialect, Action] | None:
    for dialect in DIALECTS:
        if method in dialect.methods:
            return dialect, dialect.methods[method]
    return None


def _parts(parts: Any) -> tuple[list[str], list[Any]]:
    """Texts and data; other kinds (files) are refused, since agents take none."""
    texts: list[str] = []
    values: list[Any] = []
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and "data" in part:
            values.append(part["data"])
        else:
            raise NotUnderstood("params.message.parts: text and data only")
    return texts, values


def _object(value: Any, where: str) -> JsonDict:
    if not isinstance(value, dict):
        raise NotUnderstood(f"{where}: an object, please")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise NotUnderstood(f"{where}: a text of 1 to 200 characters, please")
    return value

"""A script as data: ordered rules, the first that matches answers.

A rule matches on what is stable about a conversation (wire, model name, texts, how many assistant turns it has) and replies with a
turn, an HTTP error or a fault of the transport. ``times`` limits a rule to its first N matching requests, which is how "fail
twice, then work" is written. A script is immutable; ``Player`` counts.

    rules:
      - match: {model: "claude-*", turn: 0}
        reply: {status: 429, retry_after: 2}
        times: 1
      - match: {last_user: "weather"}
        reply: {tool_calls: [{name: lookup, arguments: {city: Berlin}}]}
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field

from headrace.simulator.conversation import Conversation
from headrace.simulator.obedient import orders

Fault = Literal["garbage", "cut", "hang"]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Call(_Data):
    """A tool call to ask for. Text ``arguments`` go out verbatim, so that malformed JSON can be scripted (OpenAI wire only)."""

    name: str
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    id: str | None = None


class ScriptedUsage(_Data):
    """Overrides of the counted usage. ``input_tokens`` counts all input, cached or not, on both wires."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


class Reply(_Data):
    """What to answer. Without a ``text``, ``json``, ``tool_calls``, ``body``, failing ``status`` or ``fault``: the default answer.

    ``latency_ms`` is really slept (None: the script's), and so is ``piece_ms`` before each piece of a stream. ``retry_after`` is
    sent as the header of that name. ``body`` is sent verbatim. Faults: ``garbage`` (200 with bytes that are no JSON), ``cut`` (the
    connection closes in mid-answer), ``hang`` (no answer until the client gives up).
    """

    text: str | None = None
    json_: Any = Field(default=None, alias="json")
    tool_calls: tuple[Call, ...] = ()
    stop_reason: str | None = None
    usage: ScriptedUsage = ScriptedUsage()
    latency_ms: float | None = Field(default=None, ge=0)
    piece_ms: float = Field(default=0, ge=0)
    status: int = Field(default=200, ge=200, le=599)
    retry_after: float | str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    message: str | None = Field(default=None, description="Text of an error answer")
    code: str | None = Field(default=None, description="OpenAI error code of an error answer")
    body: str | None = None
    fault: Fault | None = None

    @property
    def content(self) -> str | None:
        return orjson.dumps(self.json_).decode() if self.json_ is not None else self.text

    @property
    def is_default(self) -> bool:
        return self.content is None and not self.tool_calls


class Match(_Data):
    """Conditions, all of which must hold; an empty match is always true. Texts match as case-sensitive substrings."""

    wire: Literal["openai", "anthropic"] | None = None
    model: str | None = Field(default=None, description="Shell-style pattern on the provider's model name")
    system: str | None = None
    last_user: str | None = None
    last_tool: str | None = Field(default=None, description="Substring of a tool result after the last assistant turn")
    turn: int | None = Field(default=None, description="Assistant turns so far: 0 is the first request")
    tools: bool | None = Field(default=None, description="Whether tools are offered")

    def holds(self, conversation: Conversation) -> bool:
        return (
            (self.wire is None or self.wire == conversation.wire)
            and (self.turn is None or self.turn == conversation.turn)
            and (self.tools is None or self.tools == conversation.tools_offered)
            and (self.model is None or fnmatchcase(conversation.model, self.model))
            and (self.system is None or self.system in conversation.system)
            and (self.last_user is None or self.last_user in conversation.last_user)
            and (self.last_tool is None or self.last_tool in conversation.last_tool)
        )


class Rule(_Data):
    """If ``match`` holds then ``reply``, for the first ``times`` requests (None: always)."""

    match: Match = Match()
    reply: Reply = Reply()
    times: int | None = Field(default=None, ge=1)
    name: str | None = None


class Script(_Data):
    """Ordered rules, and what applies to all replies. ``obey``: where no rule matches, whatever tool calls the newest text
    asks for are made, as ``obedient`` says.
    """

    rules: tuple[Rule, ...] = ()
    obey: bool = False
    latency_ms: float = Field(default=0, ge=0)

    @classmethod
    def load(cls, path: Path) -> Script:
        """Read a script from YAML or JSON.

        Raises:
            OSError: the file can't be read.
            ValueError: it is neither, or not a script (pydantic names the place).
        """
        try:
            return cls.model_validate(yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML or JSON: {error}") from None


_DEFAULT = Rule()


class Player:
    """Plays one script: finds the rule for each request and counts ``times``. Requests are served in order of arrival."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._left = [rule.times for rule in script.rules]

    def rule_for(self, conversation: Conversation) -> tuple[str, Rule]:
        """The rule that answers, and its name (or its position; ``obeyed`` or ``default`` when no rule matches)."""
        for index, rule in enumerate(self.script.rules):
            left = self._left[index]
            if left == 0 or not rule.match.holds(conversation):
                continue
            if left is not None:
                self._left[index] = left - 1
            return rule.name or str(index), rule
        if self.script.obey and (calls := orders(conversation)):
            asked = tuple(Call(name=name, arguments=arguments) for name, arguments in calls)
            return "obeyed", Rule(reply=Reply(tool_calls=asked))
        return "default", _DEFAULT

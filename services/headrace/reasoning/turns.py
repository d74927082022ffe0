"""From a model's reply to an event of the machine: the turn as it is recorded, and what it means. Pure."""

from __future__ import annotations

import jsonschema_rs

from headrace.messages.run import Turn
from headrace.models import ModelReply
from headrace.reasoning.entries import numbered
from headrace.reasoning.machine import AnswerBroken, AnswerGiven, CallsRequested
from headrace.reasoning.structured import Answer, judge


def turn_of(reply: ModelReply, step: int) -> Turn:
    """The turn, everything inline. Lone surrogates, which no record can hold, become ``?``."""
    return Turn(
        text=reply.text
        if reply.text is None or reply.text.isascii()
        else reply.text.encode("utf-8", "replace").decode(),
        tool_calls=numbered(reply.tool_calls, step),
        usage=reply.usage,
        model=reply.model,
        stop_reason=reply.stop_reason,
        latency_ms=reply.latency_ms,
        attempts=reply.attempts,
        request_id=reply.request_id,
    )


def meaning(
    turn: Turn, packed: Turn, validator: jsonschema_rs.Validator | None, now_ms: int
) -> CallsRequested | AnswerGiven | AnswerBroken:
    """What ``turn`` means to the run; ``packed`` is the same turn with its large parts as references."""
    if turn.tool_calls:
        return CallsRequested(now_ms, packed)
    verdict = judge(turn.text, validator)
    if isinstance(verdict, Answer):
        return AnswerGiven(now_ms, packed, verdict.value)
    return AnswerBroken(now_ms, packed, verdict.repair, verdict.error)

"""The agents that ship: each loads, passes its checks, and its output schema takes good answers and refuses bad ones."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from headrace.messages.agent import AgentDefinition, Trigger
from headrace.messages.job import DEFAULT_AGENT
from headrace.models import ModelRequest
from headrace.models.offline import OfflineModel
from headrace.registry.builtin import builtin_definitions
from headrace.registry.load import check
from headrace.registry.schemas import compile_schema

AGENTS = {definition.name: definition for definition in builtin_definitions()}
CORE = {"risk": "low", "summary": "All is well.", "recommended_actions": ["Nothing."]}
GOOD: dict[str, dict[str, Any]] = {
    "pr-risk-reviewer": {**CORE, "class": "routine", "reasons": ["small"], "review_focus": []},
    "ci-failure-triager": {**CORE, "class": "test", "rerun": False, "blocks": "author"},
    "alert-summariser": {**CORE, "class": "latency", "affected": "orders", "page": False},
    "security-alert-assessor": {**CORE, "class": "code_weakness", "identifiers": ["CWE-89"], "fix_available": False},
    "issue-classifier": {**CORE, "class": "bug", "labels": ["bug"], "reply": "Thank you."},
    "release-note-drafter": {**CORE, "class": "fix", "notes": "- Something works again"},
}
EVENT_AGENTS = [AGENTS[name] for name in GOOD]
ON_REQUEST: dict[str, dict[str, Any]] = {
    "event-summariser": {"summary": "A ticket was opened.", "facts": ["order: 1042"]},
    "risk-classifier": {"intent": "access", "risk": "high", "confidence": 0.7, "reasons": ["root"]},
    "pattern-detector": {"summary": "None.", "patterns": [{"description": "d", "evidence": ["1"], "confidence": 0.5}]},
    "intent-writer": {
        "goal": "TLS 1.3 everywhere",
        "target": "edge",
        "constraints": [],
        "acceptance": ["a scan shows it"],
        "open_questions": [],
        "approval_required": True,
    },
    "next-step-recommender": {"urgency": "today", "steps": [{"action": "Ask.", "reason": "r", "reversible": True}]},
    "document-extractor": {
        "document_type": "claim",
        "fields": [{"name": "n", "value": ""}],
        "missing": [],
        "summary": "s",
    },
    "policy-checker": {"decision": "approved", "reasons": ["within the limit"]},
}


def test_the_agents_that_ship() -> None:
    assert set(AGENTS) == {*GOOD, *ON_REQUEST, DEFAULT_AGENT}


@pytest.mark.parametrize("agent", [AGENTS[name] for name in ON_REQUEST], ids=ON_REQUEST)
def test_agents_on_request_have_no_triggers_and_can_do_nothing(agent: AgentDefinition) -> None:
    assert (agent.triggers, agent.tools) == ((), ())
    validator, good = compile_schema(agent.output_schema), ON_REQUEST[agent.name]
    validator.validate(good)
    assert set(agent.output_schema["required"]) == set(agent.output_schema["properties"]) == set(good)
    assert not any(validator.is_valid({name: good[name] for name in good if name != left}) for left in good)
    assert not validator.is_valid({**good, "unknown": 1})


@pytest.mark.parametrize("name", ON_REQUEST)
async def test_without_a_model_their_answers_have_the_right_shape_and_approve_nothing(name: str) -> None:
    schema = AGENTS[name].output_schema
    reply = await OfflineModel().complete(ModelRequest(model="offline", system="", entries=(), output_schema=schema))
    answer = orjson.loads(reply.text or "")
    assert compile_schema(schema).is_valid(answer), answer
    assert answer.get("decision") in (None, "rejected")
    assert answer.get("approval_required") in (None, True)


@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS)
def test_a_definition_passes_its_checks(agent: AgentDefinition) -> None:
    assert check(agent) == []
    assert "data from outside" in agent.system_prompt
    assert agent.model == "default"


def test_the_assistant_answers_freely_and_has_the_pipeline() -> None:
    assert AGENTS[DEFAULT_AGENT].tools == ("execute_pipeline", "search_tools", "patch_workflow")
    assert AGENTS[DEFAULT_AGENT].output_schema == {}
    assert AGENTS[DEFAULT_AGENT].triggers == ()


@pytest.mark.parametrize("agent", EVENT_AGENTS, ids=GOOD)
def test_event_agents_have_triggers_and_no_tools(agent: AgentDefinition) -> None:
    assert agent.triggers
    assert agent.tools == ()


@pytest.mark.parametrize("agent", EVENT_AGENTS, ids=GOOD)
def test_a_good_answer_is_taken(agent: AgentDefinition) -> None:
    compile_schema(agent.output_schema).validate(GOOD[agent.name])
    assert set(agent.output_schema["required"]) == set(agent.output_schema["properties"]) == set(GOOD[agent.name])


@pytest.mark.parametrize("agent", EVENT_AGENTS, ids=GOOD)
def test_a_bad_answer_is_refused(agent: AgentDefinition) -> None:
    validator, good = compile_schema(agent.output_schema), GOOD[agent.name]
    bad: list[Any] = [{key: value for key, value in good.items() if key != missing} for missing in good]
    bad += [{**good, "class": "other-class"}, {**good, "risk": "extreme"}, {**good, "summary": ""}]
    bad += [{**good, "recommended_actions": "one"}, {**good, "extra": 1}, [good], "text", None]
    bad += [{**good, key: 17} for key in good]
    assert [answer for answer in bad if validator.is_valid(answer)] == []


def test_a_definition_keeps_its_hash_from_release_to_release() -> None:
    """Results name the definition that they are from by it."""
    made = AgentDefinition(name="a", version="1.0.0", category="c", description="d", system_prompt="p")
    assert made.definition_hash == "c1d0374cd069001c"
    assert made.replace(triggers=(Trigger(type="x"),)).definition_hash != made.definition_hash

"""OpenAPI of the endpoints that start, cancel and follow runs, and of the doors over them."""

from __future__ import annotations

from typing import Any, Final

from headrace.gateway.doors import BUSY, UNSUPPORTED, AgentRequest, AgentRunRequest
from headrace.gateway.openapi_parts import LIMITED, answers, body, parameter, refusals
from headrace.gateway.run_fork import ForkRequest
from headrace.gateway.run_start import RunRequest

_RUN_ID: Final = parameter("run_id", "path", "As POST /v1/runs answered", required=True)
_STARTED: Final = {"run_id": {"type": "string"}, "status_url": {"type": "string"}}
_ENDED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["run_id", "state", "status_url", "result_url"],
    "properties": {
        **_STARTED,
        "state": {"enum": ["completed", "failed"]},
        "output": {
            "description": "The answer of a run that completed: text, or the value of the agent's output schema"
        },
        "error": {"type": "object", "description": "Why it failed", "required": ["type", "message"]},
        "result_url": {"type": "string"},
    },
}

_FORKED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["run_id", "status_url", "agent", "forked_from", "edited", "taken", "anew"],
    "properties": {
        **_STARTED,
        "agent": {"type": "string", "description": "name@version"},
        "forked_from": {"type": "object", "required": ["run_id", "step"]},
        "edited": {"type": "array", "items": {"type": "string"}},
        "taken": {"type": "object", "description": "Model turns and tool results that are not made again"},
        "anew": {"type": "object", "description": "Where the run begins, and the calls of that turn that are made"},
    },
}


def run_paths() -> dict[str, Any]:
    return {
        "/v1/runs": {
            "post": {
                "tags": ["runs"],
                "summary": "Run an agent",
                "parameters": [
                    parameter("Idempotency-Key", "header", "The same key is the same run"),
                    parameter("wait", "query", "Seconds to wait for the result, up to a bound", type_="number"),
                ],
                "requestBody": body(("application/json", RunRequest.model_json_schema())),
                "responses": {
                    "200": _json("It has ended within wait", _ENDED),
                    **answers(
                        _STARTED,
                        _400="Unknown agent, or broken JSON",
                        _409="The idempotency key was used for another request",
                        _415="Content type or encoding",
                        _422="The request or the agent's input breaks its schema",
                        _429=LIMITED,
                    ),
                },
            }
        },
        "/v1/runs/{run_id}/cancel": {
            "post": {
                "tags": ["runs"],
                "summary": "Ask that a run ends",
                "description": "It ends with the error `cancelled`, unless its answer is there first. Asking again is harmless.",
                "parameters": [_RUN_ID],
                "responses": answers(_STARTED, _404="No such run", _409="It has ended"),
            }
        },
        "/v1/runs/{run_id}/fork": {
            "post": {
                "tags": ["runs"],
                "summary": "Begin a new run that takes a run's records up to a step, and goes on from there",
                "description": "The same request is the same run, however often it is asked.",
                "parameters": [_RUN_ID],
                "requestBody": body(("application/json", ForkRequest.model_json_schema())),
                "responses": {
                    "200": _json("With dry_run: what would be taken, and what made anew", _FORKED),
                    **answers(
                        _FORKED["properties"],
                        _400="Unknown version, or broken JSON",
                        _404="No such run",
                        _409="The run can't be forked there",
                        _415="Content type or encoding",
                        _422="Not this request, or no such call at the step",
                        _429=LIMITED,
                    ),
                },
            }
        },
        "/v1/runs/{run_id}/events": {
            "get": {
                "tags": ["runs"],
                "summary": "Follow a run live (server-sent events), from its first record to its result",
                "parameters": [
                    _RUN_ID,
                    parameter("Last-Event-ID", "header", "Go on after this event"),
                    parameter(
                        "tokens", "query", "Also what the model writes, of a run with stream_tokens", type_="boolean"
                    ),
                ],
                "responses": {
                    "200": {"description": "Events", "content": {"text/event-stream": {}}},
                    **refusals(_404="No such run", _422="tokens is neither true nor false", _503="See Retry-After"),
                },
            }
        },
    }


def door_paths() -> dict[str, Any]:
    return {
        "/agent": {
            "post": {
                "tags": ["doors"],
                "summary": "Ask the assistant, and wait for its answer",
                "requestBody": body(("application/json", AgentRequest.model_json_schema())),
                "responses": {
                    "200": _json("Its answer", _object(response={"type": "string"})),
                    **_details(
                        _400="Broken JSON",
                        _429=LIMITED,
                        _502="The run failed",
                        _504="No answer in time; the run goes on",
                    ),
                },
            }
        },
        "/agents/run": {
            "post": {
                "tags": ["doors"],
                "summary": "Start a run, unless as many of the agent run as may",
                "requestBody": body(("application/json", AgentRunRequest.model_json_schema())),
                "responses": {
                    "202": _json("Started", _object(run_id={"type": "string"})),
                    **_details(_400=UNSUPPORTED, _409=BUSY, _429=LIMITED),
                },
            }
        },
        "/agents/status/{run_id}": {
            "get": {
                "tags": ["doors"],
                "summary": "The state of a run, and its result or error",
                "parameters": [_RUN_ID],
                "responses": {
                    "200": _json("The run", _STATUS),
                    "404": _json("No such run", _DETAIL),
                    "503": _json("Not known now; see Retry-After", _DETAIL),
                },
            }
        },
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_DETAIL: Final = _object(detail={"type": "string"})
_STATUS: Final = _object(
    run_id={"type": "string"},
    agent_type={"type": ["string", "null"]},
    user_id={"type": ["string", "null"]},
    state={"enum": ["PENDING", "RUNNING", "DONE", "ERROR"]},
    result={"description": "The answer, once DONE"},
    error={"type": ["object", "null"]},
)


def _details(**errors: str) -> dict[str, Any]:
    always = {"_413": "Body over the limit", "_415": "Content type or encoding", "_422": "Not this request"}
    told = {**errors, **always, "_503": "Not durable; see Retry-After"}
    return {status.lstrip("_"): _json(text, _DETAIL) for status, text in sorted(told.items())}

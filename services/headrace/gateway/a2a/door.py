"""A2A's endpoints: cards, and JSON-RPC 2.0 for each published agent.

``GET  /.well-known/agent-card.json``              the default agent's card
``GET  /a2a/{agent}/.well-known/agent-card.json``  each agent's
``POST /a2a/{agent}``                              message/send, tasks/get, tasks/cancel (and 1.0's names for them)

A message is a run; sent again with its id, it is the same run.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.a2a.cards import card
from headrace.gateway.a2a.dialects import DIALECTS, Action, Asked, Dialect, NotUnderstood, dialect_of
from headrace.gateway.agent_runs import AgentRuns
from headrace.gateway.body import header_map
from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import JSON, HttpError, from_headrace
from headrace.gateway.run_start import read_json
from headrace.messages.errors import HeadraceError
from headrace.messages.job import DEFAULT_AGENT

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
TASK_NOT_FOUND: Final = -32001
NOT_CANCELABLE: Final = -32002
UNSUPPORTED: Final = -32004
VERSION_NOT_SUPPORTED: Final = -32009
_CODES: Final = {
    404: TASK_NOT_FOUND,
    409: INVALID_PARAMS,
    422: INVALID_PARAMS,
    429: INTERNAL_ERROR,
    503: INTERNAL_ERROR,
}
_KNOWN_ELSEWHERE: Final = frozenset({"message/stream", "SendStreamingMessage", "tasks/resubscribe", "SubscribeToTask"})


class RpcError(Exception):
    """A call that is answered with an error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class A2aDoor:
    """The endpoints."""

    def __init__(self, deps: Deps, runs: AgentRuns) -> None:
        self._deps = deps
        self._runs = runs

    async def root_card(self, request: Request) -> Response:
        return self._card(request, DEFAULT_AGENT)

    async def card(self, request: Request) -> Response:
        return self._card(request, request.path_params["agent"])

    async def call(self, request: Request) -> Response:
        self._runs.agent(request.path_params["agent"])
        id_: Any = None
        try:
            asked = await self._request(request)
            id_ = asked.get("id")
            result = await self._result(request, asked)
        except RpcError as error:
            return _reply(id_, {"error": {"code": error.code, "message": str(error)}})
        return _reply(id_, {"result": result})

    def _card(self, request: Request, name: str) -> Response:
        agent = self._runs.agent(name)
        base = self._deps.settings.gateway_public_url or str(request.base_url)
        made = card(agent, f"{base.rstrip('/')}/a2a/{agent.name}", guarded=self._deps.authenticator is not None)
        return Response(orjson.dumps(made), media_type=JSON, headers={"Cache-Control": "private, max-age=60"})

    async def _request(self, request: Request) -> JsonDict:
        try:
            asked = await read_json(request, header_map(request.scope), self._deps.settings.gateway_max_body_bytes)
        except HttpError as error:
            if error.status == 413:
                raise
            raise RpcError(PARSE_ERROR, error.message) from None
        if not isinstance(asked, dict) or asked.get("jsonrpc") != "2.0" or not isinstance(asked.get("method"), str):
            raise RpcError(INVALID_REQUEST, "one request of JSON-RPC 2.0, please")
        return asked

    async def _result(self, request: Request, asked: JsonDict) -> JsonDict:
        version = request.headers.get("a2a-version", "")
        if version and not any(version.startswith(dialect.version) for dialect in DIALECTS):
            spoken = ", ".join(dialect.version for dialect in DIALECTS)
            raise RpcError(VERSION_NOT_SUPPORTED, f"this agent speaks {spoken}")
        found = dialect_of(asked["method"])
        if found is None:
            streams = asked["method"] in _KNOWN_ELSEWHERE
            raise RpcError(UNSUPPORTED if streams else METHOD_NOT_FOUND, "not a method that this agent has")
        dialect, action = found
        try:
            return dialect.answer(action, await self._run(request, dialect, action, asked.get("params")))
        except NotUnderstood as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        except HttpError as error:
            code = NOT_CANCELABLE if action == "cancel" and error.status == 409 else _CODES.get(error.status)
            raise RpcError(code or INVALID_PARAMS, error.placed) from None
        except HeadraceError as error:
            problem = from_headrace(error)
            if problem.status == 500:
                raise  # the boundary logs it
            raise RpcError(_CODES.get(problem.status, INTERNAL_ERROR), problem.placed) from None

    async def _run(self, request: Request, dialect: Dialect, action: Action, params: Any) -> JsonDict:
        agent: str = request.path_params["agent"]
        if action == "send":
            return await self._send(request, agent, dialect.asked(params))
        task = dialect.task_id(params)
        run = await self._runs.get(task)
        if run.get("agent_name") != agent:
            raise RpcError(TASK_NOT_FOUND, "no such task of this agent")
        if action == "cancel":
            await self._runs.cancel(task)
            run = await self._runs.get(task)
        return run

    async def _send(self, request: Request, agent: str, asked: Asked) -> JsonDict:
        if asked.task_id is not None:
            raise RpcError(UNSUPPORTED, "a task of this agent takes one message: send another without taskId")
        wanted = {
            "agent": agent,
            "prompt": asked.prompt,
            "input": asked.input,
            "session_id": asked.context_id,
            "idempotency_key": f"a2a:{asked.message_id}",
        }
        wait_s = self._deps.settings.gateway_max_wait_s if asked.wait else 0.0
        run = await self._runs.start(wanted, header_map(request.scope), wait_s)
        return {"session_id": asked.context_id, **run}


def _reply(id_: Any, outcome: JsonDict) -> Response:
    known = id_ if isinstance(id_, str | int | float) else None
    return Response(orjson.dumps({"jsonrpc": "2.0", "id": known, **outcome}), media_type=JSON)

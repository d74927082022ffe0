"""``patch_workflow``: asks the orchestrator to change a workflow, in the name of the run's user.

A run may change what its user owns, whatever its model says: the owner that counts is the run's ``user_id``. The service's own
credential is in this client alone. The address is the operator's; of what the model wrote only the tag gets into it, if it is one.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httpx2
from pydantic import SecretStr

from headrace.messages.base import JsonObject
from headrace.messages.errors import DependencyUnavailable
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.toolspecs.patch_workflow import PATCH_WORKFLOW
from headrace.toolspecs.spec import Spec

_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_ATTEMPTS: Final = 3  # others may change the workflow in between
_MAX_TEXT: Final = 2_000
_MAX_ANSWER: Final = 2_000_000
_CONFLICT: Final = "version_conflict"


def orchestrator_client(url: str, api_key: SecretStr | None, *, timeout_s: float = 10.0) -> httpx2.AsyncClient:
    """A client of the orchestrator's API. No redirect is followed: the credential goes to this address alone."""
    key = api_key.get_secret_value() if api_key else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout_s, trust_env=False, follow_redirects=False)


class PatchWorkflow:
    """The tool."""

    def __init__(self, client: httpx2.AsyncClient, *, timeout_s: float = 30.0) -> None:
        self._client = client
        self._timeout_s = timeout_s

    @property
    def spec(self) -> Spec:
        return PATCH_WORKFLOW

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        """``patch_id`` and ``version`` of what was made. A call that is repeated gives those of the first one.

        Raises:
            ToolFailure: ``unknown_workflow``, ``not_the_owner``, ``workflow_definition``, ``version_conflict``, ...
            DependencyUnavailable: the orchestrator is away.
        """
        tag = arguments["workflow_tag"]
        if not _TAG.fullmatch(tag):
            raise ToolFailure("invalid_arguments", "/workflow_tag: not a tag")
        owner = _owner(arguments, context)
        for attempt in range(1, _ATTEMPTS + 1):
            workflow = await self._call("GET", f"/workflows/{tag}")
            body = _body(arguments, owner, workflow, context)
            try:
                made = await self._call("POST", f"/workflows/{tag}:patch", body)
            except ToolFailure as failure:
                if failure.type != _CONFLICT or attempt == _ATTEMPTS:
                    raise
                continue
            facts = {name: made.get(name) for name in ("patch_id", "version")}
            return ToolOutput({"workflow_tag": tag, "base_version": workflow.get("version"), **facts})
        raise AssertionError("the last attempt returns or raises")

    async def _call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise DependencyUnavailable(f"the orchestrator does not answer: {type(error).__name__}") from None
        if response.status_code >= 500:
            raise DependencyUnavailable(f"the orchestrator answers {response.status_code}")
        answer = _json(response)
        if response.is_success:
            return answer
        raise _failure(response.status_code, answer)


def _owner(arguments: JsonObject, context: ToolContext) -> str:
    """Who asks: the user of the run, and nobody that a model names in its place."""
    if context.user_id is None:
        raise ToolFailure("not_the_owner", "this run has no user, and a workflow is changed by its owner")
    if arguments.get("workflow_owner", context.user_id) != context.user_id:
        raise ToolFailure("not_the_owner", "/workflow_owner: this run may change its own user's workflows only")
    return context.user_id


def _body(arguments: JsonObject, owner: str, workflow: JsonObject, context: ToolContext) -> JsonObject:
    spec: JsonObject = arguments["patch_spec"]
    return {
        "workflow_owner": owner,
        "base_version": workflow.get("version"),
        "operations": spec["operations"],
        "description": spec.get("description", "")[:_MAX_TEXT],
        "idempotency_key": context.idempotency_key,
    }


def _json(response: httpx2.Response) -> JsonObject:
    try:
        value: Any = response.json() if len(response.content) <= _MAX_ANSWER else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ToolFailure("orchestrator_error", "the orchestrator's answer is not one of its API", retryable=True)
    return value


def _failure(status: int, answer: JsonObject) -> ToolFailure:
    """A refusal in words for the model. One of this service's credential says no more than that."""
    if status == 401 or (status == 403 and _told(answer)[0] == "forbidden"):
        return ToolFailure("orchestrator_refused", "the orchestrator refuses this service; an operator has to look")
    code, message = _told(answer)
    return ToolFailure(code, message)


def _told(answer: JsonObject) -> tuple[str, str]:
    error = answer.get("error")
    if not isinstance(error, dict):
        return "orchestrator_error", "the orchestrator refused without a reason"
    return str(error.get("code"))[:64], str(error.get("message"))[:_MAX_TEXT]

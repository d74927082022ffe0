"""The tool: find the operation, build its request, prove the caller, and give the answer small.

An answer that fits into ``inline_bytes`` is given whole; a larger one is put into the blob store, and a preview goes beside the
reference. An error of the API is given with the beginning of what it says, since it mostly says what to do about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from headrace.auth_profiles import AuthProfile
from headrace.blobs import BlobStore
from headrace.blobs.preview import preview
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import EgressError, GuardedClient, GuardedResponse
from headrace.messages import strict_json
from headrace.messages.base import JsonObject
from headrace.messages.errors import BadMessage
from headrace.tools.api import ToolContext, ToolFailure, ToolOutput
from headrace.tools.credentials import Credentials, Proof
from headrace.tools.http_answers import IDEMPOTENCY_KEY, not_sent, refused, without_secrets
from headrace.tools.openapi.errors import BadParams, SpecProblem
from headrace.tools.openapi.operation import Operation, Request
from headrace.tools.openapi.specs import SpecLimits, Specs
from headrace.toolspecs import Spec
from headrace.toolspecs.openapi_action import OPENAPI_ACTION

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_IN_THREAD: Final = 100_000  # bytes past which parsing leaves the event loop


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """``inline_bytes`` of what goes into a record."""

    timeout_s: float = 60.0
    inline_bytes: int = 2_048
    specs: SpecLimits = field(default_factory=SpecLimits)


class OpenapiAction:
    """``openapi_action`` over a guarded client, a blob store and the operator's auth profiles."""

    def __init__(
        self,
        client: GuardedClient,
        blobs: BlobStore,
        profiles: Mapping[str, AuthProfile],
        limits: ActionLimits | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._limits = limits or ActionLimits()
        self._specs = Specs(client, self._limits.specs, timer)
        self._credentials = Credentials(profiles, client, timer)

    @property
    def spec(self) -> Spec:
        return OPENAPI_ACTION

    @property
    def timeout_s(self) -> float:
        return self._limits.timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        try:
            operation = await self._operation(arguments, context)
            request = operation.request(arguments.get("params") or {})
            profile: str | None = arguments.get("auth_profile")
            proof = await self._proof(profile, context, request)
            answer = await self._send(request, proof, context)
            if answer.status == 401 and profile is not None and self._credentials.renewable(profile):
                proof = await self._proof(profile, context, request)
                answer = await self._send(request, proof, context)
        except BadParams as error:
            raise ToolFailure("invalid_arguments", str(error)) from None
        except SpecProblem as error:
            raise ToolFailure("bad_spec", str(error)) from None
        except EgressError as error:
            raise not_sent(error) from None
        data = await asyncio.to_thread(without_secrets, answer.body, proof)
        return ToolOutput(await self._given(answer, data, context.tenant))

    async def _operation(self, arguments: JsonObject, context: ToolContext) -> Operation:
        url = arguments["openapi_url"].strip()
        return await self._specs.operation(
            url if "://" in url else f"https://{url}", arguments["operation_id"], context.domains, context.remaining_s
        )

    async def _proof(self, profile: str | None, context: ToolContext, request: Request) -> Proof:
        return await self._credentials.proof(profile, context.agent, request.url) if profile else Proof()

    async def _send(self, request: Request, proof: Proof, context: ToolContext) -> GuardedResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.content is not None:
            headers["content-type"] = request.content.type
        if request.method not in _SAFE:
            headers[IDEMPOTENCY_KEY] = context.idempotency_key
        headers |= {name.lower(): value for name, value in proof.headers.items()}
        url = request.url
        if proof.query:
            url += ("&" if "?" in url else "?") + proof.query
        return await self._client.request(
            request.method,
            url,
            domains=context.domains,
            content=request.content.data if request.content else None,
            headers=headers,
            timeout_s=context.remaining_s,
        )

    async def _given(self, answer: GuardedResponse, data: bytes, tenant: str) -> JsonObject:
        if failure := refused(answer, data):
            raise failure
        body = await _parsed(answer, data)
        if len(data) <= self._limits.inline_bytes:
            return {"status": answer.status, "body": body}
        whole = data if not isinstance(body, str) else orjson.dumps(body)  # a blob is JSON, whatever the answer was
        ref = await TenantBlobs(self._blobs, tenant).put(whole)
        small = preview(body, self._limits.inline_bytes // 2)
        return {"status": answer.status, "bytes": len(data), "preview": small, "result_ref": ref}


async def _parsed(answer: GuardedResponse, data: bytes) -> Any:
    """The JSON value of an answer; text as text; None for an empty one."""
    if not data.strip():
        return None
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        return data.decode(errors="replace")
    try:
        return strict_json.loads(data) if len(data) <= _IN_THREAD else await asyncio.to_thread(strict_json.loads, data)
    except BadMessage as error:
        raise ToolFailure("bad_json", f"the answer of {answer.host} can't be read: {error}") from None

"""``POST /v1/runs``: a request becomes one job, once, however often the caller asks with the same idempotency key.

The run id of a keyed request is derived from (tenant, agent, key), so asking again names the same run; what the key stood for is
kept as a claim with a digest of the request. The same key for another request is refused with 422
(draft-ietf-httpapi-idempotency-key-header). Publishing the same job twice is harmless, since admission takes a job id once.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from headrace.claims import Claim, Outcome
from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.body import header_map, is_json, parse_json, read_body
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.publishing import publish
from headrace.gateway.schema_check import InputSchemas
from headrace.messages.agent import AgentDefinition
from headrace.messages.errors import TransientError
from headrace.messages.headers import trace_context
from headrace.messages.ids import requested_job_id
from headrace.messages.job import Job, JobContext
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)


class RunRequest(BaseModel):
    """What to run. Give ``input`` (checked against the agent's input schema) or ``prompt``, not both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str = Field(min_length=1, max_length=128, description="Name of a published agent")
    version: str | None = Field(default=None, max_length=64, description="One version of it; default: the live one")
    input: Any = None
    prompt: str | None = Field(default=None, min_length=1)
    session_id: str | None = Field(default=None, min_length=1, max_length=256)
    user_id: str | None = Field(default=None, min_length=1, max_length=256)
    idempotency_key: str | None = Field(default=None, description="The same key is the same run; also Idempotency-Key")


class RunRequests:
    """The endpoint."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns) -> None:
        self._deps = deps
        self._accepted = accepted
        self._schemas = InputSchemas()

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        if not is_json(headers.get("content-type", "")):
            raise HttpError(415, "content_type", "the content type must be application/json", where="content-type")
        body = await read_body(request, headers, self._deps.settings.gateway_max_body_bytes)
        wanted = _parse(parse_json(body))
        key = _idempotency_key(headers.get("idempotency-key"), wanted.idempotency_key)
        definition = self._definition(wanted)
        if wanted.prompt is None:
            self._schemas.check(definition, wanted.input)
        run_id = requested_job_id(self._deps.tenant, wanted.agent, key) if key else str(uuid.uuid4())
        if key is None or await self._is_new(wanted, key, run_id):
            await publish(self._deps, [Send(self._job(wanted, run_id, key), headers=trace_context(headers))])
        self._accepted.add(run_id, wanted.agent)
        log.info("run_accepted", agent_type=wanted.agent, user_id=wanted.user_id, run_id=run_id)
        url = f"/v1/runs/{run_id}"
        return Response(orjson.dumps({"run_id": run_id, "status_url": url}), 202, {"Location": url}, media_type=JSON)

    def _definition(self, wanted: RunRequest) -> AgentDefinition:
        if not self._deps.catalog_ready():
            raise unavailable("the catalogue of agents")
        live = self._deps.catalog.live(wanted.agent)
        if wanted.version is None:
            if live is not None:
                return live
            log.warning("run_refused", reason="unknown_agent")
            raise HttpError(400, "unknown_agent", f"no agent named {wanted.agent!r}", where="/agent")
        found = self._deps.catalog.get(wanted.agent, wanted.version)
        if found is None:
            what = f"no version {wanted.version!r} of an agent named {wanted.agent!r}"
            raise HttpError(400, "unknown_agent", what, where="/version" if live else "/agent")
        return found

    async def _is_new(self, wanted: RunRequest, key: str, run_id: str) -> bool:
        """Whether the job has to be published: False once the run is in the index. Raises 422 for a key used otherwise."""
        digest = _request_digest(wanted)
        # the digest is part of the position: the same key with other content must not look like the same request again
        claim = Claim(f"request:{self._deps.tenant}", key, position=f"{run_id}:{digest}", digest=digest)
        try:
            outcome = await self._deps.claims.claim(claim)
            if outcome is Outcome.CONFLICT:
                message = "this idempotency key was used for another request"
                raise HttpError(422, "idempotency_key_reused", message, where="idempotency-key")
            return outcome is Outcome.FIRST or await self._deps.index.run(run_id) is None
        except TransientError:
            raise unavailable("the database, which idempotency keys need,") from None

    def _job(self, wanted: RunRequest, run_id: str, key: str | None) -> Job:
        return Job(
            job_id=run_id,
            agent=wanted.agent,
            agent_version=wanted.version,
            input=wanted.input,
            prompt=wanted.prompt,
            user_id=wanted.user_id,
            tenant=self._deps.tenant,
            context=JobContext(session_id=wanted.session_id),
            idempotency_key=key,
            created_at=self._deps.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )


def _parse(value: Any) -> RunRequest:
    try:
        wanted = RunRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = "/" + "/".join(str(part)[:64] for part in first["loc"])
        raise HttpError(422, "request_schema", first["msg"], where=where) from None
    if (wanted.input is None) == (wanted.prompt is None):
        raise HttpError(422, "request_schema", "give either input or prompt", where="/input")
    return wanted


def _idempotency_key(header: str | None, field: str | None) -> str | None:
    """The key of header and body, which must agree. The header's quotes (a structured-field string) are optional."""
    if header is not None and len(header) >= 2 and header[0] == header[-1] == '"':
        header = header[1:-1]
    if header is not None and field is not None and header != field:
        raise HttpError(400, "idempotency_key", "header and body give different keys", where="idempotency-key")
    key = header if header is not None else field
    if key is not None and not (1 <= len(key) <= 256 and key.isascii() and key.isprintable()):
        raise HttpError(400, "idempotency_key", "1 to 256 printable ASCII characters, please", where="idempotency-key")
    return key


def _request_digest(wanted: RunRequest) -> str:
    content = wanted.model_dump(mode="json", exclude={"idempotency_key"})
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()

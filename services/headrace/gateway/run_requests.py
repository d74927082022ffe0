"""``POST /v1/runs``: a request becomes one job, once, however often the caller asks with the same idempotency key.

The run id of a keyed request is derived from (tenant, agent, key), so asking again names the same run; what the key stood for is
kept as a claim with a digest of the request. The same key for another request is refused with 409: that request would be good with
a key of its own, while 422 says here that it is not. Publishing a job twice is harmless, since admission takes a job id once.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.claims import Claim, Outcome
from headrace.gateway.access import speak_for
from headrace.gateway.body import header_map
from headrace.gateway.budgets import refuse_exhausted
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.run_start import RunRequest, RunStart, parsed, read_json
from headrace.gateway.waiting import Waiting
from headrace.messages.canonical import canonical_json
from headrace.messages.errors import TransientError
from headrace.messages.ids import requested_job_id


class RunRequests:
    """The endpoint."""

    def __init__(self, deps: Deps, start: RunStart, waiting: Waiting) -> None:
        self._deps = deps
        self._start = start
        self._waiting = waiting

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        seconds = self._waiting.seconds(request.query_params.get("wait"))
        wanted = run_request(await read_json(request, headers, self._deps.settings.gateway_max_body_bytes))
        speak_for(request.scope, wanted.user_id, "/user_id")
        key = _idempotency_key(headers.get("idempotency-key"), wanted.idempotency_key)
        run_id = await self.begin(wanted, key, headers)
        url = f"/v1/runs/{run_id}"
        if ended := await self._waiting.outcome(run_id, seconds):
            return Response(orjson.dumps(ended), 200, {"Location": url}, media_type=JSON)
        return Response(orjson.dumps({"run_id": run_id, "status_url": url}), 202, {"Location": url}, media_type=JSON)

    async def begin(self, wanted: RunRequest, key: str | None, headers: Mapping[str, str]) -> str:
        """The id of the run that is wanted, whose job is durable. Raises ``HttpError``."""
        run_id = requested_job_id(self._deps.tenant, wanted.agent, key) if key else str(uuid.uuid4())
        self._start.checked(wanted, run_id)
        if key is None or await self._is_new(wanted, key, run_id):
            await refuse_exhausted(self._deps, wanted)
            await self._start.publish(wanted, run_id, headers, key)
        else:
            self._start.accept(wanted, run_id)
        return run_id

    async def _is_new(self, wanted: RunRequest, key: str, run_id: str) -> bool:
        """Whether the job has to be published: False once the run is in the index. Raises 409 for a key used otherwise."""
        digest = _request_digest(wanted)
        # the digest is part of the position: the same key with other content must not look like the same request again
        claim = Claim(f"request:{self._deps.tenant}", key, position=f"{run_id}:{digest}", digest=digest)
        try:
            outcome = await self._deps.claims.claim(claim)
            if outcome is Outcome.CONFLICT:
                message = "this idempotency key was used for another request"
                raise HttpError(409, "idempotency_key_reused", message, where="idempotency-key")
            return outcome is Outcome.FIRST or await self._deps.index.run(run_id) is None
        except TransientError:
            raise unavailable("the database, which idempotency keys need,") from None


def run_request(value: Any) -> RunRequest:
    """``value`` as a request for a run. Raises ``HttpError`` 422."""
    wanted = parsed(RunRequest, value)
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
    content = wanted.model_dump(mode="json", exclude={"idempotency_key", "stream_tokens"})
    if wanted.double_texting is None:  # it came later: keys that were used before stay good
        del content["double_texting"]
    return hashlib.sha256(canonical_json(content)).hexdigest()

"""What all ways to ask for a run share: which agent, whether its input fits, and the job that goes into the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.body import is_json, parse_json, read_body
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError, unavailable
from headrace.gateway.publishing import publish
from headrace.gateway.schema_check import InputSchemas
from headrace.messages.agent import AgentDefinition
from headrace.messages.headers import trace_context
from headrace.messages.job import Job, JobContext
from headrace.messages.run import DoubleTexting
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
    double_texting: DoubleTexting | None = Field(
        default=None, description="While its session is busy; default: as the agent says"
    )
    user_id: str | None = Field(default=None, min_length=1, max_length=256)
    idempotency_key: str | None = Field(default=None, description="The same key is the same run; also Idempotency-Key")
    stream_tokens: bool = Field(
        default=False, description="Tell what the model writes while it writes; see GET /v1/runs/{run_id}/events"
    )


class RunStart:
    """Checks requests and writes their jobs."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns, limits: RateLimits) -> None:
        self._deps = deps
        self._limits = limits
        self._accepted = accepted
        self._schemas = InputSchemas()

    def checked(self, wanted: RunRequest, run_id: str) -> AgentDefinition:
        """The agent that is asked for. Raises ``HttpError``: 400 there is none, 422 its input is another, 503 not known yet,
        429 too many requests."""
        definition = self._definition(wanted, run_id)
        if wanted.prompt is None:
            self._schemas.check(definition, wanted.input)
        self._limits.request()
        return definition

    def _definition(self, wanted: RunRequest, run_id: str) -> AgentDefinition:
        if not self._deps.catalog_ready():
            raise unavailable("the catalogue of agents")
        live = self._deps.catalog.live(wanted.agent, wanted.session_id or run_id)  # as the job's ``canary_key``
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

    async def publish(
        self, wanted: RunRequest, run_id: str, headers: Mapping[str, str], key: str | None = None
    ) -> None:
        """Returns when the job is durable. Raises ``HttpError`` 503."""
        await publish(self._deps, [Send(self._job(wanted, run_id, key), headers=trace_context(headers))])
        self.accept(wanted, run_id)

    def accept(self, wanted: RunRequest, run_id: str) -> None:
        """The run is known here, and in the log with the keys that all its lines have."""
        self._accepted.add(run_id, wanted.agent)
        log.info("run_accepted", agent_type=wanted.agent, user_id=wanted.user_id, run_id=run_id)

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
            stream_tokens=wanted.stream_tokens,
            double_texting=wanted.double_texting,
            created_at=self._deps.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )


async def read_json(request: Request, headers: Mapping[str, str], limit: int) -> Any:
    """The JSON value of a request's body. Raises ``HttpError`` 400, 413, 415."""
    if not is_json(headers.get("content-type", "")):
        raise HttpError(415, "content_type", "the content type must be application/json", where="content-type")
    return parse_json(await read_body(request, headers, limit))


Wanted = TypeVar("Wanted", bound=BaseModel)


def parsed(model: type[Wanted], value: Any) -> Wanted:
    """``value`` as ``model``. Raises ``HttpError`` 422 that names the place."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = "/" + "/".join(str(part)[:64] for part in first["loc"])
        raise HttpError(422, "request_schema", first["msg"], where=where) from None

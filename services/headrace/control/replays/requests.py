"""What a replay may be asked for, as JSON: the body of ``POST /v1/replays``, and what is kept with the job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

REPLAY_ID: Final = r"^[a-z0-9][a-z0-9-]{0,47}$"
Time = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What all kinds have. The same ``replay_id`` with the same request is the same job.

    ``dry_run``: plan it and stop, with its estimate. ``confirm``: go on also where models cost money.
    """

    replay_id: Annotated[str, Meta(pattern=REPLAY_ID, description="Default: one is made")] | None = None
    dry_run: Annotated[bool, Meta(description="Only plan it and say what it would cost; :resume begins it")] = False
    confirm: Annotated[bool, Meta(description="Agree to model calls that cost money, up to max_cost_usd")] = False

    def plain(self) -> dict[str, Any]:
        """As JSON, without what says only how to begin: what two requests of one id must have in common."""
        bare: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in bare.items() if name not in ("replay_id", "dry_run", "confirm")}


class ShadowRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="shadow"):
    """Events of a range, reasoned by another version of an agent: what is tried is a version or definition, a model, a prompt."""

    agent: Annotated[Name, Meta(description="Whose live version is compared with")]
    version: Annotated[str, Meta(max_length=64, description="A published version of it")] | None = None
    definition: Annotated[dict[str, Any], Meta(description="A definition that need not be published")] | None = None
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    prompt: Annotated[str, Meta(min_length=1, max_length=200_000, description="The system prompt")] | None = None
    from_: Annotated[Time, Meta(description="Default: the oldest event that is there")] | None = None
    to: Annotated[Time, Meta(description="Default: now; of one that follows: never")] | None = None
    follow: Annotated[bool, Meta(description="Go on with the live tail, until `to` or until it is cancelled")] = False
    follow_after_s: Annotated[
        float, Meta(ge=0, le=3_600, description="After so long is the live run of an event over")
    ] = 30.0
    where: Annotated[str, Meta(max_length=2_000, description="Only events for which this JMESPath is true")] | None = (
        None
    )
    sample: Annotated[float, Meta(gt=0, le=1)] = 1.0
    baseline: Annotated[float, Meta(ge=0, le=1, description="Share over which the live version is run too")] = 0.1
    session: Annotated[str, Meta(max_length=2_000, description="JMESPath of an event's session")] | None = None
    on_miss: Literal["fail", "stub", "live-readonly"] = "fail"
    evaluators: Annotated[list[dict[str, Any]], Meta(max_length=64, description="As in an evaluators file")] = []
    max_cost_usd: Annotated[float, Meta(gt=0)] = 1.0
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000)] = 32
    outcome: Annotated[Name, Meta(description="Field of the output; default: the first with a closed set")] | None = (
        None
    )


class RerunRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="rerun"):
    """Runs that have ended, reasoned again over their records by the code of the service, and compared byte for byte."""

    agent: Annotated[Name, Meta(description="Only of this agent")] | None = None
    since: Annotated[Time, Meta(description="Only runs created since then")] | None = None


ReplayRequest = ShadowRequest | RerunRequest


def request_of(value: Any) -> ReplayRequest:
    """Raises ``msgspec.ValidationError`` with the place."""
    made: ReplayRequest = msgspec.convert(value, ReplayRequest)
    if isinstance(made, ShadowRequest) and made.from_ and made.to and made.to <= made.from_:
        raise msgspec.ValidationError("the range ends before it begins - at `$.to`")
    return made

"""What a replay may be asked for, as JSON: the body of ``POST /v1/replays``, and what is kept with the job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast, get_args

import msgspec
from msgspec import Meta

REPLAY_ID: Final = r"^[a-z0-9][a-z0-9-]{0,47}$"
INDEX_NAME: Final = r"^[a-z][a-z0-9_]{0,30}$"
ENTRY_ID: Final = r"^[0-9]{1,9}/[0-9]{1,18}$"
MAX_EDIT: Final = 256 * 1_024
MAX_ITEMS: Final = 100_000  # of what one replay goes through
Time = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Rate = Annotated[float, Meta(gt=0, le=1_000, description="So many a second")]
Patience = Annotated[float, Meta(gt=0, le=86_400, description="Seconds to wait: for others to stop, and for progress")]
Rates = dict[
    Literal["input", "output", "cache_read", "cache_write"], Annotated[float, Meta(ge=0, description="US dollars")]
]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What all kinds have. The same ``replay_id`` with the same request is the same job.

    ``dry_run``: plan it and stop, with its estimate. ``confirm``: go on also where models cost money, or something live is changed.
    """

    replay_id: Annotated[str, Meta(pattern=REPLAY_ID, description="Default: one is made")] | None = None
    dry_run: Annotated[bool, Meta(description="Only plan it and say what it comes to; :resume begins it")] = False
    confirm: Annotated[
        bool, Meta(description="Agree to paid model calls, up to max_cost_usd, or to what it changes")
    ] = False

    @property
    def kind(self) -> str:
        return cast("str", self.__struct_config__.tag)

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


class BulkRequest(Asked, frozen=True, kw_only=True):
    """Runs that the index knows, chosen by what it says of them: all that fit everything that is given, the oldest first.

    Each choice also has ``state``.
    """

    where: Annotated[str, Meta(max_length=2_000, description="Only runs for which this JMESPath is true")] | None = None
    agent: Annotated[Name, Meta(description="Only of this agent")] | None = None
    since: Annotated[Time, Meta(description="Only runs created since then")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS, description="At most so many")] = MAX_ITEMS
    rate: Rate = 10.0

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in ("where", "agent", "since", "state")):
            raise ValueError("say which runs: where, agent, since or state")


class BulkRerunRequest(BulkRequest, frozen=True, kw_only=True, tag_field="kind", tag="bulk_rerun"):
    """The jobs of runs that have ended begun once more, live: new runs, whose ``replay_id`` is this replay's."""

    state: Annotated[Literal["completed", "failed"] | None, Meta(description="Only in this state")] = None
    version: Annotated[str, Meta(max_length=64, description="Of the agent; default: each run's own")] | None = None


class BulkCancelRequest(BulkRequest, frozen=True, kw_only=True, tag_field="kind", tag="bulk_cancel"):
    """Asking that runs end, each of which ends as failed with the error ``cancelled`` unless its answer is there first."""

    state: Annotated[Literal["pending", "running"] | None, Meta(description="Only in this state")] = None


class RepriceRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="reprice"):
    """What the runs of some time would have cost at other prices, by the tokens that are recorded: of one model, or of a table."""

    since: Annotated[Time, Meta(description="Runs created since then")]
    until: Annotated[Time, Meta(description="And before this time; default: now")] | None = None
    agent: Annotated[Name, Meta(description="Only of this agent")] | None = None
    model: Annotated[str, Meta(max_length=200, description="All at the price of this one, provider:name")] | None = None
    prices: Annotated[dict[Name, Rates], Meta(max_length=1_000, description="By model, per million tokens")] | None = (
        None
    )

    def __post_init__(self) -> None:
        if (self.prices is None) == (self.model is None):
            raise ValueError("give either model or prices")
        if self.until is not None and self.until <= self.since:
            raise ValueError("it ends before it begins")


class RebuildRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="rebuild"):
    """The index of runs made again beside the live one, from the oldest record on, and compared with it row by row."""

    index: Annotated[str, Meta(pattern=INDEX_NAME, description="Its name: of the schema that it is in")]
    patience_s: Patience = 120.0


class SwapRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="swap"):
    """An index beside put in the live one's place, if both are the same. Waits for persistence to be stopped."""

    index: Annotated[str, Meta(pattern=INDEX_NAME)]
    patience_s: Patience = 120.0


class DropRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="drop"):
    """An index beside, or what a swap has put aside, removed."""

    index: Annotated[str, Meta(pattern=INDEX_NAME)]


class RedriveRequest(Asked, frozen=True, kw_only=True, tag_field="kind", tag="redrive"):
    """Dead letters of one service sent back to the topics that they came from, each once, as they are or edited."""

    service: Annotated[str, Meta(max_length=64, description="Whose dead letters")]
    entries: (
        Annotated[
            list[Annotated[str, Meta(pattern=ENTRY_ID)]],
            Meta(min_length=1, max_length=10_000, description="Their ids; default: all that did not go back yet"),
        ]
        | None
    ) = None
    edit: Annotated[
        Any,
        Meta(description="A JSON Patch, or the JSON value that takes the place of each record's own; 256 KiB at most"),
    ] = None
    rate: Rate = 1_000.0

    def __post_init__(self) -> None:
        if len(msgspec.json.encode(self.edit)) > MAX_EDIT:
            raise ValueError(f"the edit is longer than {MAX_EDIT} bytes")


ReplayRequest = (
    ShadowRequest
    | RerunRequest
    | BulkRerunRequest
    | BulkCancelRequest
    | RepriceRequest
    | RebuildRequest
    | SwapRequest
    | DropRequest
    | RedriveRequest
)
KINDS: Final[tuple[type[Asked], ...]] = get_args(ReplayRequest)


def request_of(value: Any) -> ReplayRequest:
    """Raises ``msgspec.ValidationError`` with the place."""
    made: ReplayRequest = msgspec.convert(value, ReplayRequest)
    if isinstance(made, ShadowRequest) and made.from_ and made.to and made.to <= made.from_:
        raise msgspec.ValidationError("the range ends before it begins - at `$.to`")
    return made

"""Ingest: ``ingest.raw`` -> ``ingest.events`` + ``agent.jobs``.

One delivery becomes, all or nothing, its canonical events and a job for each live agent that one of them triggers. Everything here
is derived from the record (ids, times, order), so reading it again makes the same outputs under the same names.

It owns the dedup by delivery id, through claims:

    outcome of the claim            what happens
    first, again                    the delivery is processed (again: a crash or a rewind made us read it twice)
    duplicate                       nothing: another record brought the same delivery
    conflict                        same id, other content: processed under an id with the content's digest, flagged
    (the sender gives no id)        processed; the place in the log names it

A delivery whose sender gives no id comes with a digest of its body for one. Where the same bytes come again on purpose, as a
reminder, such an id is claimed for one stretch of time at a time (``reminder_window_hours``), by when the gateway took the delivery
in. The next stretch makes the same events, under the same ids.

It refuses to know senders (``normalise``), agents' work, and Kafka.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import quote

from headrace.claims import Claim, Claims, Outcome
from headrace.ingest.normalise.delivery import Delivery, to_event
from headrace.ingest.normalise.dispatch import REMINDING, normalise
from headrace.ingest.normalise.forms import open_delivery
from headrace.ingest.settings import IngestSettings
from headrace.messages.agent import AgentDefinition
from headrace.messages.base import Message
from headrace.messages.errors import FatalError, RejectedMessage
from headrace.messages.event import Event, RawDelivery
from headrace.messages.ids import triggered_job_id
from headrace.messages.job import Job
from headrace.observe.logging import get_logger
from headrace.observe.metrics import DELIVERIES, EVENTS, TRIGGERED_JOBS
from headrace.registry.catalog import Catalog
from headrace.registry.triggers import match
from headrace.runtime.api import Context, Send

log = get_logger(__name__)

CONFLICT_HEADER: Final = "ce_deliveryconflict"  # on every output of a delivery whose id had named other content

_DIGEST: Final = "sha256:"  # how the gateway names a delivery whose sender does not

Input = tuple[Message, Context]
Answer = Sequence[Send] | Exception
Admission = Outcome | Exception | None  # None: the sender gave no id


class _Opened(NamedTuple):
    """A delivery that is understood; ``position`` is what it claims its id by."""

    delivery: Delivery
    events: list[Event]
    position: str


class IngestProcessor:
    """The processor of the stage ``ingest``. ``tenant`` is the tenant of deliveries that name none."""

    def __init__(self, claims: Claims, catalog: Catalog, *, tenant: str, settings: IngestSettings) -> None:
        self._claims = claims
        self._catalog = catalog
        self._tenant = tenant
        self._settings = settings

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        """The events of a delivery, each followed by the jobs that it triggers.

        Raises:
            BadMessage: the delivery cannot be understood; nothing of it was claimed.
            DependencyUnavailable: the claims are away.
        """
        [answer] = await self.handle_all([(message, context)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def handle_all(self, inputs: Sequence[Input]) -> list[Answer]:
        """``handle`` of each, with few calls for the claims of all; a delivery's own error is its answer."""
        opened = [self._opened(message, context) for message, context in inputs]
        understood = [one for one in opened if isinstance(one, _Opened)]
        outcomes = iter(await self._admit(understood))
        return [self._answer(one, next(outcomes)) if isinstance(one, _Opened) else one for one in opened]

    def _opened(self, message: Message, context: Context) -> _Opened | Exception:
        """A delivery with its events, before any claim: a bad delivery must not hold its id."""
        if not isinstance(message, RawDelivery):
            raise FatalError(f"ingest was given a {type(message).__name__}")
        try:
            delivery = open_delivery(message, context, self._tenant)
            return _Opened(delivery, self._events(delivery, ""), context.position)
        except Exception as error:  # a bug too belongs to the delivery that meets it, not to its neighbours
            return error

    def _events(self, delivery: Delivery, id_suffix: str) -> list[Event]:
        drafts = normalise(delivery)
        if len(drafts) > self._settings.max_fan_out:
            limit = self._settings.max_fan_out
            raise RejectedMessage(f"{len(drafts)} events in one delivery, {limit} allowed", cause="fan_out", where="/")
        return [to_event(draft, delivery, index, id_suffix=id_suffix) for index, draft in enumerate(drafts)]

    async def _admit(self, opened: Sequence[_Opened]) -> list[Admission]:
        """Claim the deliveries' ids; a conflict claims the id with its digest, so that it too is processed once."""
        outcomes: list[Admission] = [None] * len(opened)
        claims = {
            place: _claim(one.delivery, self._claimed_name(one.delivery, one.delivery.id), one.position)
            for place, one in enumerate(opened)
            if one.delivery.id is not None
        }
        for place, outcome in zip(claims, await self._claims.claim_all(list(claims.values())), strict=True):
            outcomes[place] = outcome
        for place in [place for place, outcome in enumerate(outcomes) if outcome is Outcome.CONFLICT]:
            outcomes[place] = await self._admit_conflicting(opened[place].delivery, opened[place].position)
        return outcomes

    async def _admit_conflicting(self, delivery: Delivery, position: str) -> Admission:
        log.warning("delivery_conflicted", delivery_id=delivery.id, source=delivery.source, tenant=delivery.tenant)
        second = _claim(delivery, f"{delivery.id}{_suffix(delivery)}", position)
        [outcome] = await self._claims.claim_all([second])
        return outcome if outcome is Outcome.DUPLICATE or isinstance(outcome, Exception) else Outcome.CONFLICT

    def _claimed_name(self, delivery: Delivery, delivery_id: str) -> str:
        """What a delivery is claimed by. Never change its form."""
        if not (delivery_id.startswith(_DIGEST) and delivery.source in REMINDING):
            return delivery_id
        stretch = datetime.fromisoformat(delivery.received).timestamp() // (
            self._settings.reminder_window_hours * 3_600
        )
        return f"{delivery_id}@{stretch:.0f}"

    def _answer(self, opened: _Opened, outcome: Admission) -> Answer:
        delivery = opened.delivery
        if isinstance(outcome, Exception):
            return outcome
        DELIVERIES.labels(delivery.form, outcome or "unnamed").inc()
        if outcome is Outcome.DUPLICATE:
            log.info("duplicate_dropped", delivery_id=delivery.id, source=delivery.source, tenant=delivery.tenant)
            return ()
        if outcome is Outcome.CONFLICT:
            return self._sends(self._events(delivery, _suffix(delivery)), {CONFLICT_HEADER: "true"})
        return self._sends(opened.events, {})

    def _sends(self, events: list[Event], headers: dict[str, str]) -> list[Send]:
        return [Send(message, headers=headers) for event in events for message in self._messages(event)]

    def _messages(self, event: Event) -> Iterator[Message]:
        EVENTS.labels(event.origin.kind).inc()
        yield event
        for agent in self._catalog.all_live(event.partition_key):
            if any(match(event, trigger, agent=agent.name) for trigger in agent.triggers):
                TRIGGERED_JOBS.labels(agent.name).inc()
                yield _job(event, agent)


def _job(event: Event, agent: AgentDefinition) -> Job:
    return Job(
        job_id=triggered_job_id(event.uid, agent.name, agent.version),
        tenant=event.tenant,
        agent=agent.name,
        agent_version=agent.version,
        event=event,
        partition_key=event.partition_key,
        created_at=event.time,
        timeout_sec=agent.limits.timeout_s,
    )


def _claim(delivery: Delivery, key: str, position: str) -> Claim:
    scope = f"delivery:{quote(delivery.tenant, safe='')}:{delivery.source}"  # quoted: a tenant may have a colon
    return Claim(scope, key, position, _digest(delivery))


def _digest(delivery: Delivery) -> str:
    return sha256(delivery.body).hexdigest()


def _suffix(delivery: Delivery) -> str:
    return f"~{_digest(delivery)[:16]}"

"""Ingest: ``ingest.raw`` -> ``ingest.events`` + ``agent.jobs``.

One delivery becomes, all or nothing, its canonical events and a job for each live agent that one of them triggers. Everything here
is derived from the record (ids, times, order), so reading it again makes the same outputs under the same names.

It owns the dedup by delivery id, through claims:

    outcome of the claim            what happens
    first, again                    the delivery is processed (again: a crash or a rewind made us read it twice)
    duplicate                       nothing: another record brought the same delivery
    conflict                        same id, other content: processed under an id with the content's digest, flagged
    (the sender gives no id)        processed; the place in the log names it

It refuses to know senders (``normalise``), agents' work, and Kafka.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from headrace.claims import Claim, Claims, Outcome
from headrace.ingest.normalise.delivery import Delivery, to_event
from headrace.ingest.normalise.forms import open_delivery
from headrace.ingest.normalise.senders import normalise
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
        if not isinstance(message, RawDelivery):
            raise FatalError(f"ingest was given a {type(message).__name__}")
        delivery = open_delivery(message, context, self._tenant)
        events = self._events(delivery, "")  # before any claim: a bad delivery must not hold its id
        outcome = await self._admit(delivery, context.position)
        DELIVERIES.labels(delivery.form, outcome or "unnamed").inc()
        if outcome is Outcome.DUPLICATE:
            log.info("duplicate_dropped", delivery_id=delivery.id, source=delivery.source, tenant=delivery.tenant)
            return ()
        if outcome is Outcome.CONFLICT:
            return self._sends(self._events(delivery, _suffix(delivery)), {CONFLICT_HEADER: "true"})
        return self._sends(events, {})

    def _events(self, delivery: Delivery, id_suffix: str) -> list[Event]:
        drafts = normalise(delivery)
        if len(drafts) > self._settings.max_fan_out:
            limit = self._settings.max_fan_out
            raise RejectedMessage(f"{len(drafts)} events in one delivery, {limit} allowed", cause="fan_out", where="/")
        return [to_event(draft, delivery, index, id_suffix=id_suffix) for index, draft in enumerate(drafts)]

    async def _admit(self, delivery: Delivery, position: str) -> Outcome | None:
        """Claim the delivery's id; a conflict claims the id with its digest, so that it too is processed once."""
        if delivery.id is None:
            return None
        outcome = await self._claims.claim(_claim(delivery, delivery.id, position))
        if outcome is not Outcome.CONFLICT:
            return outcome
        log.warning("delivery_conflicted", delivery_id=delivery.id, source=delivery.source, tenant=delivery.tenant)
        second = await self._claims.claim(_claim(delivery, delivery.id + _suffix(delivery), position))
        return Outcome.DUPLICATE if second is Outcome.DUPLICATE else Outcome.CONFLICT

    def _sends(self, events: list[Event], headers: dict[str, str]) -> list[Send]:
        return [Send(message, headers=headers) for event in events for message in self._messages(event)]

    def _messages(self, event: Event) -> Iterator[Message]:
        EVENTS.labels(event.origin.kind).inc()
        yield event
        for agent in self._catalog.all_live():
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

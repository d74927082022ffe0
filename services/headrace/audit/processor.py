"""Audit: every topic -> ``audit.events``, one entry per record, in the order of each source partition.

The state that goes along a partition is the head of its chain (``chain.Head``), committed with the entries and the offset. Where it
is not there, it is looked for in ``audit.events`` itself, and a record that has its entry already is passed over: reading
everything again adds nothing.

    what fails                                    what happens
    the record is not what its topic declares     an entry of kind undecodable, by its digest
    Kafka, registry or blobs away                 DependencyUnavailable: the partition waits, however long
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.audit import facts
from headrace.audit.chain import Head, link, record_digest
from headrace.audit.heads import Heads
from headrace.messages.agent import AgentRecord
from headrace.messages.errors import BadMessage, FatalError, TransientError
from headrace.messages.event import RawDelivery
from headrace.observe.logging import get_logger
from headrace.runtime.api import Context, Send, Stored

log = get_logger(__name__)


class AuditProcessor:
    """The processor of the stage ``audit``. ``tenant`` is that of records which name none."""

    def __init__(self, heads: Heads, tenant: str) -> None:
        self._heads = heads
        self._tenant = tenant

    async def fold(self, state: str | None, record: Stored, context: Context) -> tuple[str, Sequence[Send]]:
        """The entry of ``record``, and the head after it."""
        source = context.source
        head = Head.parse(state) if state else await self._heads.find(f"{source.topic}/{source.partition}")
        if head is not None and source.offset <= head.offset:
            return str(head), ()
        digest = record_digest(record.key, record.value, record.headers)
        entry = link(head, source, context.timestamp_ms, digest, await self._facts(record, context))
        return str(Head.of(entry)), (Send(entry),)

    async def _facts(self, record: Stored, context: Context) -> facts.Facts:
        topic = context.source.topic
        found = facts.of_headers(topic, context.headers, self._tenant)
        if topic == RawDelivery.TOPIC or topic.endswith(facts.DEAD_LETTERS):
            return found  # a stranger's bytes: there is nothing to decode
        if topic == AgentRecord.TOPIC and record.value is None:
            return found | facts.of_deleted_agent(record.key)
        try:
            return found | facts.of_message(await record.decode())
        except BadMessage as error:
            return found | facts.undecodable(error.cause)
        except (TransientError, FatalError):
            raise
        except Exception as error:  # a bug in reading it must not leave it without an entry
            log.error("record_not_understood", source=str(context.source), exc_info=error)
            return found | facts.undecodable(type(error).__name__)

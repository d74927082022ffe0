"""Ids that are derived from content or position, never drawn at random.

A record that is read again must lead to the same ids, or a rewind would repeat what was done. **Never change the format of
an id in this file**: stored runs, dedup claims and idempotency keys at third parties depend on the bytes. ``tests/unit``
pins each one to a literal.
"""

from __future__ import annotations

import hashlib
import uuid

_NAMESPACE = uuid.UUID("6f1d8f2c-53b5-5d0e-9a35-6865616472ce").bytes  # chosen once for headrace
_SEPARATOR = "\x1f"  # can't occur in a header value or a JSON key that we accept unescaped


def _uuid(kind: str, *parts: str) -> str:
    """What ``uuid.uuid5`` gives (RFC 9562, 5.5), at a third of its price: five of these are made for each run."""
    name = hashlib.sha1(_NAMESPACE + _SEPARATOR.join((kind, *parts)).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(name[16], 16) & 3]
    return f"{name[:8]}-{name[8:12]}-5{name[13:16]}-{variant}{name[17:20]}-{name[20:32]}"


def event_uid(tenant: str, source: str, event_id: str) -> str:
    """Identity of a canonical event. CloudEvents: ``source`` + ``id`` identify an event; the tenant keeps senders apart."""
    return _uuid("event", tenant, source, event_id)


def triggered_job_id(event_uid: str, agent: str, version: str, replay_id: str | None = None) -> str:
    """Job (and so run) id of one agent version on one event. A replay id makes another run of it."""
    return _uuid("job", event_uid, agent, version, replay_id or "")


def requested_job_id(tenant: str, agent: str, idempotency_key: str) -> str:
    """Job id of a request that named an idempotency key: the same key is the same run."""
    return _uuid("request", tenant, agent, idempotency_key)


def forked_job_id(tenant: str, run_id: str, step: int, edits: str, replay_id: str | None = None) -> str:
    """Job id of a fork: of a run, at a step, with edits (their digest). A replay id makes another one of it."""
    return _uuid("fork", tenant, run_id, str(step), edits, replay_id or "")


def result_id(tenant: str, run_id: str) -> str:
    """Id of a run's result, as in ``artifact://<result_id>``."""
    return _uuid("result", tenant, run_id)


def call_key(tenant: str, run_id: str, step: int, call_id: str) -> str:
    """Idempotency key of one tool call, stable over redeliveries."""
    return _uuid("call", tenant, run_id, str(step), call_id)


def child_job_id(tenant: str, run_id: str, step: int, call_id: str) -> str:
    """Job id of the sub-agent that one tool call asks for."""
    return _uuid("child", tenant, run_id, str(step), call_id)


def pending_id(tenant: str, run_id: str, step: int, round_: int, call_id: str) -> str:
    """Name of one thing that a run waits for, such as an approval."""
    return _uuid("pending", tenant, run_id, str(step), str(round_), call_id)


def approval_proof(
    tenant: str, run_id: str, step: int, call_id: str, tool: str, arguments_hash: str, *, repeat: bool = False
) -> str:
    """What an approval stands for: SHA-256 over the place of the call and the hash of its arguments."""
    text = _SEPARATOR.join(
        ("repeat" if repeat else "approval", tenant, run_id, str(step), call_id, tool, arguments_hash)
    )
    return hashlib.sha256(text.encode()).hexdigest()


def audit_id(topic: str, partition: int, offset: int) -> str:
    """Id of the audit entry of one record, by the record's place."""
    return _uuid("audit", topic, str(partition), str(offset))


def content_ref(data: bytes) -> str:
    """``cas://sha256:<hex>`` of ``data``: the name of a blob is its content."""
    return f"cas://sha256:{hashlib.sha256(data).hexdigest()}"


def short_hash(data: bytes) -> str:
    """16 hex characters of SHA-256: names a definition or a prompt in records and logs."""
    return hashlib.sha256(data).hexdigest()[:16]


def work_id(tenant: str, run_id: str, node: str, place: str, attempt: int) -> str:
    """Id of one attempt at one piece of a workflow run's work: the job of an agent or a tool, the run of a sub-workflow.

    ``place`` is the item's number in a map, ``undo`` for a compensation, else empty.
    """
    return _uuid("work", tenant, run_id, node, place, str(attempt))


def workflow_run_id(tenant: str, tag: str, cause: str) -> str:
    """Run of a workflow for one cause: an event's uid, a time of its schedule, or the idempotency key of a request."""
    return _uuid("workflow", tenant, tag, cause)


def patch_id(tenant: str, tag: str, version: int) -> str:
    """Id of the patch that made this version of a workflow."""
    return _uuid("patch", tenant, tag, str(version))

"""Where a result's data goes (protocol v1.0, 3.2): below 10 MB into ``result_data``, else it is a blob that ``cas_id`` names.

``jsonb`` can't hold NUL in a text. A result with one stays a blob too, so that it is given back as it was.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import orjson

from headrace.blobs import BlobCorrupt, BlobNotFound, BlobStore
from headrace.messages import ids
from headrace.messages.result import AgentResult
from headrace.persistence.preview import preview
from headrace.persistence.rows import ResultRow
from headrace.persistence.values import parsed_time, text, time_of
from headrace.postgres.errors import encoding
from headrace.postgres.json import Document, has_nul, storable_text

_INT_MAX: Final = 2**31 - 1
_CAS: Final = "cas://"
_TOOL_CALLS_BYTES: Final = 65_536


class Stored(NamedTuple):
    """One of both, or neither for a run without an answer. ``cas_id`` is the reference without ``cas://``."""

    data: Document | None = None
    cas_id: str | None = None


def inline(result: AgentResult, inline_bytes: int) -> Stored | None:
    """Where the answer of a result stays in its row, or there is none; None if that takes the blob store."""
    if result.output_ref is not None:
        return None
    if result.status == "failed" and result.output is None:
        return Stored()
    data = orjson.dumps(result.output)
    return Stored(data=Document(data)) if _fits(data, inline_bytes) else None


async def store_output(result: AgentResult, blobs: BlobStore, inline_bytes: int) -> Stored:
    """Put the answer where it belongs.

    A blob that is gone or damaged does not lose the result: its row then has the reference alone.
    """
    with encoding():
        stored = inline(result, inline_bytes)
    if stored is not None:
        return stored
    if result.output_ref is None:
        return Stored(cas_id=_cas_id(await blobs.put(orjson.dumps(result.output))))
    try:
        data = await blobs.get(result.output_ref)
    except (BlobNotFound, BlobCorrupt):
        return Stored(cas_id=_cas_id(result.output_ref))
    if _fits(data, inline_bytes) and _is_json(data):
        return Stored(data=Document(data))
    return Stored(cas_id=_cas_id(result.output_ref))


def result_row(result: AgentResult, stored: Stored, created_at: datetime) -> ResultRow:
    """``created_at`` is the record's timestamp, so that a rebuilt table is the same."""
    metadata = result.metadata
    calls = [call.plain() for call in metadata.tool_calls]
    return ResultRow(
        result_id=ids.result_id(result.tenant, result.job_id),
        job_id=storable_text(result.job_id),
        run_id=text(result.run_id) or "",
        node_id=text(result.node_id) or "",
        result_data=stored.data,
        cas_id=stored.cas_id,
        status=result.status,
        error=Document(orjson.dumps(result.error.plain())) if result.error else None,
        tool_calls=preview(calls, _TOOL_CALLS_BYTES),
        tokens_used=min(metadata.tokens_used, _INT_MAX),
        cache_hit=metadata.cache_hit,
        execution_time_ms=min(metadata.execution_time_ms, _INT_MAX),
        created_at=created_at,
        completed_at=time_of(result.completed_ms) or parsed_time(result.completed_at),
        tenant=storable_text(result.tenant),
    )


def _fits(data: bytes, inline_bytes: int) -> bool:
    return len(data) < inline_bytes and not has_nul(data)


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _cas_id(ref: str) -> str:
    return ref.removeprefix(_CAS)

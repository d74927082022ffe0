"""What a run leaves in its session: the question and the answer, the newest result, and the pipelines that it used.

A conversation holds what was asked and answered, not how: tool calls and their outcomes stay in the run's own records, since the
next run may be of another agent, which has not these tools. Data is handed on by reference instead, as ``result_ref``.
A run that failed leaves its question with the reason in the answer's place, and the result that it found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.tenants import TenantBlobs
from headrace.messages import ids
from headrace.messages.canonical import canonical_json
from headrace.messages.result import SessionTurn
from headrace.messages.run import Entry, RunInfo, SessionState, Transcript
from headrace.reasoning.compaction import compacted, size_of
from headrace.reasoning.entries import canonical
from headrace.reasoning.machine import EmitResult
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.transcript import Transcripts

_PIPELINE: Final = "execute_pipeline"
_WHOLE: Final = 2**31
_CAS: Final = re.compile(r"cas://sha256:[0-9a-f]{64}")


class Stores(Protocol):
    """The part of ``execution.Tools`` that is needed here."""

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def transcripts(self) -> Transcripts: ...

    @property
    def settings(self) -> ReasoningSettings: ...


async def session_turn(run: RunInfo, entries: Sequence[Entry], end: EmitResult, stores: Stores) -> SessionTurn | None:
    """None for a run without a session, or one that never began. ``entries``: what it found, then its own."""
    found = run.session
    if found is None or len(entries) <= found.stored:
        return None
    earlier, own = entries[: found.stored], entries[found.stored :]
    kept = await _conversation(found, earlier, (own[0], _answer(end)), stores)
    left = SessionState(
        turns=found.turns + 1,
        head=kept.head,
        stored=kept.stored,
        result_ref=found.result_ref if end.error else await _result_ref(own, end.output, stores, run.tenant),
    )
    return SessionTurn(found=found, left=left, pipeline_usage=await _pipelines(own, stores.transcripts))


def _answer(end: EmitResult) -> Entry:
    if end.error is not None:
        return Entry(role="assistant", content=f"(no answer: {end.error.type})")
    return Entry(role="assistant", content=_text(end.output))


def _text(output: Any) -> str:
    return output if isinstance(output, str) else canonical(output)


async def _conversation(
    found: SessionState, earlier: Sequence[Entry], pair: tuple[Entry, Entry], stores: Stores
) -> Transcript:
    """One more segment after those that are there; past the bound a new beginning, which sums the older ones up."""
    transcripts, settings = stores.transcripts, stores.settings
    whole = await transcripts.resolve((*earlier, *pair), max_chars=settings.view_chars)
    if size_of(whole) <= settings.session_chars:
        return await transcripts.close(Transcript(head=found.head, stored=found.stored), pair)
    return await transcripts.close(Transcript(), compacted(whole, settings.session_chars))


async def _result_ref(own: Sequence[Entry], output: Any, stores: Stores, tenant: str) -> str:
    """What the last tool that gave something gave; else the answer itself. The next run's tools may read what is put here."""
    blobs = TenantBlobs(stores.blobs, tenant)
    for entry in reversed(own):
        if entry.role == "tool" and not entry.is_error:
            [whole] = await stores.transcripts.resolve((entry,), max_chars=_WHOLE)
            return await _data_ref(orjson.loads(whole.content or "null"), blobs)
    return await blobs.put(_text(output).encode())  # the very blob of the answer, where that is a long one


async def _data_ref(content: Any, blobs: BlobStore) -> str:
    """A dataset's own reference, its rows, or whatever it is."""
    if isinstance(content, dict):
        ref = content.get("result_ref")
        if isinstance(ref, str) and _CAS.fullmatch(ref):  # it goes into a prompt: nothing but a reference
            return ref
        content = content.get("rows", content)
    return await blobs.put(canonical(content).encode())


async def _pipelines(own: Sequence[Entry], transcripts: Transcripts) -> dict[str, int]:
    """How often each pipeline was asked for, by a name that follows from its steps."""
    used: Counter[str] = Counter()
    for call in (call for entry in own for call in entry.tool_calls if call.name == _PIPELINE):
        steps = (await transcripts.arguments(call)).get("pipeline")
        used[f"pipeline_{ids.short_hash(canonical_json(steps))}"] += 1
    return dict(sorted(used.items()))

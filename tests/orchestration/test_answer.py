"""A sub-agent's result or a report as the outcome of a call: what is large is a reference, and one that its tenant may name."""

from __future__ import annotations

import orjson

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.messages.wait import Reported
from headrace.orchestration.waits.answer import answer_of, reported_answer
from tests.orchestration.records import child_result


async def test_a_large_answer_can_be_named_by_its_own_tenant_only() -> None:
    blobs = MemoryBlobs()
    answer = await answer_of(child_result(output={"rows": ["x" * 100] * 100}), blobs, inline_bytes=1_000)
    assert answer.content is None
    assert answer.content_ref is not None
    assert orjson.loads(await TenantBlobs(blobs, "t").get(answer.content_ref))["output"] == {"rows": ["x" * 100] * 100}
    assert not await TenantBlobs(blobs, "another").may_name(answer.content_ref)


async def test_a_large_report_can_be_named_by_the_tenant_of_its_wait_only() -> None:
    blobs, rows = MemoryBlobs(), ["x" * 100] * 100
    answer = await reported_answer(Reported(content=rows), "t", blobs, inline_bytes=1_000)
    assert answer.content_ref is not None
    assert orjson.loads(await TenantBlobs(blobs, "t").get(answer.content_ref)) == rows
    assert not await TenantBlobs(blobs, "another").may_name(answer.content_ref)


async def test_a_reference_to_what_is_another_tenant_s_is_no_answer() -> None:
    blobs = MemoryBlobs()
    own, theirs = await TenantBlobs(blobs, "t").put(b"1"), await TenantBlobs(blobs, "another").put(b"2")
    good = await answer_of(child_result(output=None, output_ref=own), blobs, inline_bytes=1_000)
    assert (good.content_ref, good.error) == (own, None)
    bad = await answer_of(child_result(output=None, output_ref=theirs), blobs, inline_bytes=1_000)
    assert bad.content_ref is None
    assert bad.error is not None
    assert bad.error.type == "agent_failed"

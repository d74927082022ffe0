"""Admission: decided once, in the record where the run begins."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.messages.agent import Limits
from headrace.messages.result import ResultError
from headrace.models import ModelError
from headrace.models.resolve import resolve
from headrace.models.settings import ModelSettings
from headrace.reasoning.admission import Admitted, Refused, Skipped
from headrace.registry.catalog import records_of
from tests.reasoning.bench import (
    T0,
    Bench,
    ScriptedModel,
    context,
    definition,
    job,
    model_down,
    only_result,
    text_reply,
)

INPUT_SCHEMA = {"type": "object", "required": ["pr"], "properties": {"pr": {"type": "integer"}}}


async def refusal(bench: Bench, **changes: Any) -> ResultError:
    result = only_result(await bench.start(job(**changes)))
    assert result.status == "failed"
    assert result.usage.model_calls == 0
    assert result.error is not None
    assert not result.error.retryable
    return result.error


@pytest.mark.parametrize("asked", [{"agent": "nobody"}, {"agent": "reviewer", "agent_version": "9.9.9"}])
async def test_an_unknown_agent_or_version_is_refused_by_name(asked: dict[str, str]) -> None:
    error = await refusal(Bench(ScriptedModel()), **asked)
    assert error.type == "unknown_agent"
    assert "@".join(asked.values()) in error.message


async def test_the_live_version_runs_unless_another_is_asked_for() -> None:
    old, new = definition(version="1.0.0"), definition(version="1.1.0")
    bench = Bench(ScriptedModel(text_reply("a"), text_reply("b")), old, new)
    assert only_result(await bench.start()).agent_version == "1.1.0"
    again = only_result(await bench.start(job(job_id="job-2", agent_version="1.0.0"), context(offset=1)))
    assert again.agent_version == "1.0.0"


async def test_input_that_breaks_the_schema_is_refused_with_its_path() -> None:
    error = await refusal(Bench(ScriptedModel(), definition(input_schema=INPUT_SCHEMA)), input={"pr": "seven"})
    assert error.type == "invalid_input"
    assert "/pr: " in error.message


async def test_a_job_without_input_is_not_held_to_the_input_schema() -> None:
    bench = Bench(ScriptedModel(text_reply("ok")), definition(input_schema=INPUT_SCHEMA))
    assert only_result(await bench.start()).status == "completed"


async def test_a_schema_that_would_fetch_is_an_invalid_definition() -> None:
    bench = Bench(ScriptedModel(), definition(input_schema={"$ref": "http://127.0.0.1:9/schema"}))
    assert (await refusal(bench, input={})).type == "invalid_definition"


async def test_a_model_that_is_not_configured_is_refused() -> None:
    def nothing(spec: str) -> str:
        raise ModelError("no such provider, key sk-verysecretkey1", kind="not_configured", retryable=False)

    error = await refusal(Bench(ScriptedModel(), resolve=nothing))
    assert error.type == "model_error"
    assert error.message.startswith("not_configured: ")
    assert "verysecretkey1" not in error.message


async def test_the_default_model_is_resolved_once_and_recorded() -> None:
    bench = Bench(
        ScriptedModel(),
        definition(model="default"),
        resolve=lambda spec: resolve(spec, ModelSettings(_env_file=None)),
    )
    decision = await bench.admit(job(), context())
    assert isinstance(decision, Admitted)
    assert decision.run.model == "offline"


@pytest.mark.parametrize(("asked", "limit", "seconds"), [(10, 300, 10), (300, 20, 20)])
async def test_the_deadline_counts_from_the_record_and_is_the_smaller_of_two(
    asked: float, limit: float, seconds: int
) -> None:
    bench = Bench(ScriptedModel(), definition(limits=Limits(timeout_s=limit)))
    decision = await bench.admit(job(timeout_sec=asked), context())
    assert isinstance(decision, Admitted)
    assert (decision.run.started_ms, decision.run.deadline_ms) == (T0, T0 + seconds * 1000)


async def test_another_record_with_the_same_job_id_leads_to_nothing() -> None:
    bench = Bench(ScriptedModel(text_reply("once")))
    assert len(await bench.start(at=context(offset=1))) == 1
    assert await bench.start(at=context(offset=2)) == []


async def test_the_same_job_id_of_another_tenant_is_another_run() -> None:
    bench = Bench(ScriptedModel(text_reply("a"), text_reply("b")))
    assert len(await bench.start(job(tenant="one"), context(offset=1))) == 1
    assert len(await bench.start(job(tenant="two"), context(offset=2))) == 1


async def test_the_same_record_again_goes_on_until_the_run_has_its_result() -> None:
    bench = Bench(ScriptedModel(text_reply("a"), text_reply("b")))
    assert len(await bench.start(at=context(offset=1))) == 1
    assert len(await bench.start(at=context(offset=1))) == 1, "its result was never committed"
    bench.finished.runs.add(("default", "job-1"))
    assert await bench.start(at=context(offset=1)) == [], "a rewind pays nothing twice"


async def test_a_run_that_has_its_result_is_not_begun_again_when_its_claim_is_forgotten() -> None:
    bench = Bench(ScriptedModel())
    bench.finished.runs.add(("default", "job-1"))
    assert await bench.start() == []


async def test_a_gate_may_refuse_what_is_admissible_otherwise() -> None:
    class Closed:
        async def check(self, _job: Any, admitted: Admitted) -> ResultError | None:
            return ResultError(type="budget", message=f"nothing left for {admitted.run.agent.name}")

    decision = await Bench(ScriptedModel(), gates=[Closed()]).admit(job(), context())
    assert isinstance(decision, Refused)
    assert decision.error.type == "budget"


async def test_a_version_published_later_is_found() -> None:
    bench = Bench(ScriptedModel())
    for record in records_of(definition(name="late", version="2.0.0")):
        bench.catalog.apply(record.record_key(), record)
    assert isinstance(await bench.admit(job(agent="late"), context()), Admitted)
    assert isinstance(await bench.admit(job(agent="late"), context(offset=9)), Skipped)


async def test_a_job_id_is_one_run_whatever_the_attempt_is_called() -> None:
    """``retry_count`` is the caller's: another attempt is a job with an id of its own."""
    bench = Bench(ScriptedModel(model_down(), text_reply("Fine.")))
    failed = only_result(await bench.start(job()))
    assert failed.error is not None
    assert failed.error.retryable
    assert await bench.start(job(retry_count=1), context(offset=1)) == []
    again = only_result(await bench.start(job(job_id="job-1-again", retry_count=1), context(offset=2)))
    assert (again.status, again.job_id) == ("completed", "job-1-again")

"""History at other prices: from the index, by agent and model, and never by a guess."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replays
from headrace.index.spent import Spent
from headrace.messages.run import Usage
from headrace.models.pricing import price
from headrace.models.rates import InvalidRates, PriceTable, Rates, load_rates, rates_of
from headrace.persistence.writer import Writer
from headrace.replay.jobs.work import work_on
from headrace.replay.reprice import reprice, total
from headrace.settings import MeshSettings
from tests.budgets.test_postgres import NOW, run
from tests.docs.pages import ROOT
from tests.postgres.database import empty_pool, pool
from tests.replay.command import CommandLine, cli

__all__ = ["cli", "empty_pool", "pool"]
MINI = "openai:gpt-4o-mini"
COUNTS = st.integers(0, 100_000)


@given(st.sampled_from([MINI, "anthropic:claude-haiku-4-5"]), COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_model_s_rates_are_those_of_the_price_list(spec: str, plain: int, read: int, written: int, out: int) -> None:
    provider, _, name = spec.partition(":")
    counts = {"cache_read_tokens": read, "cache_write_tokens": written if provider == "anthropic" else 0}
    usage = Usage(input_tokens=plain + sum(counts.values()), output_tokens=out, **counts)
    rates = rates_of(spec).of("whatever was asked")
    assert rates is not None
    assert rates.cost(usage) == pytest.approx(price(provider, (name,), usage).usd, abs=1e-9)


def test_what_a_table_leaves_out_of_caches_costs_as_input() -> None:
    usage = Usage(
        input_tokens=1_000_000, output_tokens=1_000_000, cache_read_tokens=400_000, cache_write_tokens=100_000
    )
    assert Rates(input=2, output=3).cost(usage) == pytest.approx(5)
    assert Rates(input=2, output=3, cache_read=1, cache_write=0).cost(usage) == pytest.approx(0.5 * 2 + 0.4 + 3)


def test_a_model_that_the_table_lacks_is_named_and_nothing_is_counted_as_free() -> None:
    table = PriceTable("mine", {"a:1": Rates(input=1, output=1)})
    used, free = Usage(input_tokens=5, output_tokens=5, cost_usd=1.0), Usage(model_calls=1)
    with pytest.raises(InvalidRates, match=r"mine has no price for b:1 \(7 runs\)"):
        reprice([Spent("x", "a:1", 3, used), Spent("x", "b:1", 4, used), Spent("y", "b:1", 3, used)], table)
    [row] = reprice([Spent("x", "offline", 3, free)], table)
    assert (row.repriced_usd, row.ratio) == (0, None)
    assert total([]).runs == 0


def test_the_example_is_a_table() -> None:
    table = load_rates(ROOT / "docs/examples/prices.yaml")
    usage = Usage(input_tokens=900, output_tokens=300, cache_read_tokens=200, cache_write_tokens=100)
    for model, rates in table.rates.items():
        listed = rates_of(model).of(model)
        assert listed is not None
        assert rates.cost(usage) == pytest.approx(listed.cost(usage)), "true, of the installed list"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "object"),
        ("m: {input: 1}", "output"),
        ("m: {input: -1, output: 1}", "input"),
        ("m: {input: 1, output: 1, in: 2}", "in"),
        ("m: {input: 1e999, output: 1}", "input"),
        ("m: 1\nm: 2", ":2: "),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    (file := tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(InvalidRates, match=why):
        load_rates(file)


def used(name: str, model: str, **changes: Any) -> Any:
    tokens = {"input_tokens": 1_000_000, "output_tokens": 100_000, "model_calls": 1, "cost_usd": 2.0}
    return run(name, 1, 1, **{"tenant": "default", "model": model, **tokens, **changes})


async def worked(pool: asyncpg.Pool) -> Any:
    """The report of the one job that there is, which this process works on. It takes no server but Postgres."""
    leases = Leases(pool, "test", 60.0)
    job = await leases.take("default", follows=False)
    assert job is not None
    await work_on(MeshSettings(_env_file=None), pool, leases, job)
    row = await Replays(pool).get("default", job.replay_id)
    report, _ = await Replays(pool).report("default", job.replay_id)
    assert row is not None
    assert row.state == "completed", row.error
    assert row.progress is not None
    assert row.progress["passed"] == row.progress["total"] == 100
    return report


async def test_the_command_adds_up_by_agent_and_model(
    pool: asyncpg.Pool, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str
) -> None:
    old = NOW - timedelta(days=30)
    await Writer(pool).write(
        [
            used("r-1", MINI),
            used("r-2", MINI, cache_read_tokens=400_000, created_at=NOW - timedelta(days=2)),
            used("r-3", "openai:gpt-4o", agent_name="other"),
            used("r-4", "offline", input_tokens=0, output_tokens=0, cost_usd=0.0),
            used("r-5", MINI, created_at=old),
            used("r-6", "x:unlisted", tenant="another"),
        ]
    )
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # it needs neither
    monkeypatch.setenv("DATABASE_URL", database_url)
    command = ("replay", "reprice", "--since", "7d")
    (file := tmp_path / "prices.yaml").write_text(f"{MINI}: {{input: 1, output: 10, cache_read: 0.5}}")
    told = json.loads((await cli(*command, "--prices", str(file), "--agent", "reviewer", "--json")).stdout)
    [offline, mini] = sorted(told["rows"], key=lambda row: float(row["repriced_usd"]))
    assert (offline["model"], offline["runs"], offline["repriced_usd"]) == ("offline", 1, 0)
    assert (mini["runs"], mini["input_tokens"], mini["cost_usd"]) == (2, 2_000_000, 4.0)
    assert mini["repriced_usd"] == pytest.approx(1.6 + 0.4 * 0.5 + 2.0)
    assert told["total"]["difference_usd"] == pytest.approx(3.8 - 4.0)

    await cli(*command, "--prices", str(file), "--agent", "reviewer", "--detach")
    report = await worked(pool)
    assert [report[name] for name in ("rows", "total")] == [pytest.approx(told[name]) for name in ("rows", "total")]

    lacking = await cli(*command, "--prices", str(file), expect=2)
    assert "has no price for openai:gpt-4o (1 runs)" in lacking.stderr
    table = (await cli(*command, "--model", MINI)).stdout
    assert "other" in table
    assert table.splitlines()[-1].split()[:2] == ["all", "4"]
    assert "knows no model" in (await cli(*command, "--model", "openai:nothing", expect=2)).stderr
    assert (await cli(*command, expect=2)).stderr

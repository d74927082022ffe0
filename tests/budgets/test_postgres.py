"""Budgets on real Postgres: accounts that are always the sum of their runs, leases of several processes, changes while both go
on.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from headrace.budgets.lease import Turn
from headrace.budgets.postgres import PostgresBudgets
from headrace.budgets.rules import UNLIMITED, ZERO, Account, Amount, Spender, accounts_of
from headrace.budgets.spending import Asked
from headrace.messages.budget import Budget
from headrace.persistence.merge import RunRow
from headrace.persistence.rows import Rows
from headrace.persistence.writer import Writer

NOW = datetime.now(UTC)
THIS_MONTH = f"{NOW:%Y-%m}"


def run(run_id: str, step: int, tokens: int, **changes: Any) -> Rows:
    values: dict[str, Any] = {
        "tenant": "t",
        "run_id": run_id,
        "precedence": step,
        "state": "running",
        "agent_name": "reviewer",
        "session_id": "s-1",
        "created_at": NOW,
        "model_calls": step,
        "input_tokens": tokens - 1,
        "output_tokens": 1,
        "cost_usd": tokens / 1_000,
    }
    return Rows(run=RunRow(**{**values, **changes}))


def all_agents(**changes: Any) -> Budget:
    return Budget(**{"name": "all", "scope": "tenant", "window": "month", "tokens": 1_000, **changes})


def account(name: str = "all", subject: str = "", period: str = THIS_MONTH) -> Account:
    return Account("t", name, subject, period)


async def spent(pool: asyncpg.Pool) -> dict[Account, Amount]:
    rows = await pool.fetch("SELECT * FROM budget_accounts")
    return {Account(*row[:4]): Amount(row["tokens"], row["nano"]) for row in rows}


async def test_each_turn_counts_once_in_whatever_order_and_however_often_it_is_read(pool: asyncpg.Pool) -> None:
    store, writer = PostgresBudgets(pool), Writer(pool)
    await store.put("t", all_agents(), "test")
    await store.put("t", Budget(name="chat", scope="session", tokens=500), "test")
    first, second, other = run("a", 1, 100), run("a", 2, 250), run("b", 1, 40, session_id=None, agent_name="x")
    for batch in ([second], [first, other], [second], [first]):
        await writer.write(batch)
    assert await spent(pool) == {
        account(): Amount(290, 290_000_000),
        account("chat", "s-1", "total"): Amount(250, 250_000_000),
    }
    await pool.execute("TRUNCATE runs, run_steps, agent_results, events")  # as a rebuild of the index does
    assert set((await spent(pool)).values()) == {ZERO}
    await writer.write([first, other])
    await writer.write([second])
    assert (await spent(pool))[account()] == Amount(290, 290_000_000)


async def test_a_budget_that_is_set_later_counts_what_was_before(pool: asyncpg.Pool) -> None:
    store, writer = PostgresBudgets(pool), Writer(pool)
    await writer.write([run("a", 1, 100), run("old", 1, 70, created_at=NOW - timedelta(days=40))])
    await store.put("t", all_agents(), "test")
    await store.put("t", all_agents(name="ever", window="total"), "test")
    assert await spent(pool) == {
        account(): Amount(100, 100_000_000),
        account("ever", "", "total"): Amount(170, 170_000_000),
    }
    assert await store.remove("t", "ever")
    assert not await store.remove("t", "ever")
    assert list(await spent(pool)) == [account()]


async def test_nothing_is_missed_while_budgets_are_set_and_runs_are_filed(pool: asyncpg.Pool) -> None:
    store, writer = PostgresBudgets(pool), Writer(pool)

    async def file(part: int) -> None:
        for number in range(30):
            await writer.write([run(f"{part}-{number}", 1, 10)])

    async def change() -> None:
        for number in range(12):
            await store.put("t", all_agents(tokens=1_000 + number), "test")

    await asyncio.gather(file(1), file(2), change())
    assert await spent(pool) == {account(): Amount(600, 600_000_000)}


async def test_sql_and_python_name_the_same_accounts(pool: asyncpg.Pool) -> None:
    store = PostgresBudgets(pool)
    for scope in ("tenant", "agent", "session", "run"):
        for window in ("day", "month", "total"):
            for agent in (None, "reviewer"):
                budget = Budget(
                    name=f"{scope}-{window}-{agent or 'any'}", scope=scope, window=window, agent=agent, tokens=9
                )
                await store.put("t", budget, "test")
    budgets = (await store.all())["t"]
    for agent, session in (("reviewer", "s"), ("reviewer", None), ("other", "s")):
        for at in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 30, 23, 59, 59, 999_000, tzinfo=UTC)):
            rows = await pool.fetch("SELECT * FROM budget_accounts_of('t', $1, $2, $3)", agent, session, at)
            drawn = accounts_of(budgets, Spender("t", agent, session, round(at.timestamp() * 1000)))
            assert {tuple(row) for row in rows} == {named[1:] for _, named in drawn}


async def test_a_stranger_s_numbers_stop_no_record(pool: asyncpg.Pool) -> None:
    await PostgresBudgets(pool).put("t", all_agents(), "test")
    great = run("a", 1, 100, input_tokens=2**62, output_tokens=2**62, cost_usd=float("inf"))
    await Writer(pool).write([great, run("b", 1, 10, input_tokens=-5, output_tokens=0, cost_usd=float("nan"))])
    assert (await spent(pool))[account()].tokens == 2 * 10**12


def asked(*turns: Turn, held: int = 0, wanted: int = 0, limit: int = 1_000) -> Asked:
    return Asked(account(), Amount(limit, UNLIMITED), turns, Amount(held, 0), Amount(wanted, 0))


async def test_leases_share_what_is_left_and_filed_turns_are_held_once(pool: asyncpg.Pool) -> None:
    one, two = PostgresBudgets(pool), PostgresBudgets(pool)
    await one.put("t", all_agents(), "test")
    [first] = await one.renew([asked(wanted=600)], 60)
    [second] = await two.renew([asked(wanted=600)], 60)
    assert (first.granted.tokens, second.granted.tokens) == (600, 400)
    await Writer(pool).write([run("a", 1, 300)])
    [first] = await one.renew([asked(Turn("a", 1, Amount(300), 0), Turn("b", 1, Amount(200), 0), held=500)], 60)
    assert (first.spent.tokens, first.granted.tokens, first.filed) == (300, 200, {"a": 1, "b": 0})
    [second] = await two.renew([asked()], 60)
    assert second.granted.tokens == 0
    assert await pool.fetchval("SELECT count(*) FROM budget_leases") == 1, "what is nothing is no row"
    [late] = await two.renew([asked(wanted=900)], 60)
    assert late.granted.tokens == 500


async def test_the_lease_of_a_process_that_died_expires(pool: asyncpg.Pool) -> None:
    dead, alive = PostgresBudgets(pool), PostgresBudgets(pool)
    await dead.put("t", all_agents(), "test")
    await dead.renew([asked(wanted=1_000)], 60)
    [renewed] = await alive.renew([asked(wanted=10)], 60)
    assert renewed.granted == Amount(0, UNLIMITED)
    await pool.execute("UPDATE budget_leases SET expires_at = now() - interval '1 second'")
    [renewed] = await alive.renew([asked(wanted=10)], 60)
    assert renewed.granted.tokens > 0


async def test_a_budget_removed_a_moment_ago_holds_up_nobody(pool: asyncpg.Pool) -> None:
    [renewed] = await PostgresBudgets(pool).renew([asked(wanted=10)], 60)
    assert renewed.granted.tokens == 10


async def test_usage_shows_the_present_window(pool: asyncpg.Pool) -> None:
    store = PostgresBudgets(pool)
    await store.put("t", all_agents(), "test")
    await Writer(pool).write([run("a", 1, 100), run("old", 1, 70, created_at=NOW - timedelta(days=40))])
    await store.renew([asked(wanted=50)], 60)
    [use] = await store.usage("t", None, NOW)
    assert (use.account, use.spent.tokens, use.held.tokens) == (account(), 100, 112)
    assert await store.usage("other", None, NOW) == []


SPENDER = """
import asyncio, json, sys
from headrace.budgets.follow import FollowedBudgets
from headrace.budgets.postgres import PostgresBudgets
from headrace.budgets.rules import ZERO, Amount, Spender
from headrace.budgets.spending import BudgetExhausted, Spending
from headrace.persistence.writer import Writer
from headrace.postgres.pool import open_pool
from tests.budgets.test_postgres import NOW, run
from tests.postgres.database import mesh_settings

async def main(url, name):
    answered = []
    async with open_pool(mesh_settings(url), max_size=4) as pool:
        bank, rules, writer = PostgresBudgets(pool), FollowedBudgets(), Writer(pool)
        rules.put(await bank.all())
        spender = Spender("t", "reviewer", None, round(NOW.timestamp() * 1000))
        async with Spending(rules, bank).kept(0.05) as spending:
            async def one(number):
                reservation = await spending.reserve(spender, ZERO, lambda: Amount(10, 0))
                await asyncio.sleep(0)
                run_id = f"{name}-{number}"
                spending.settle(reservation, run_id, 1, Amount(10, 10_000_000))
                answered.append(10)
                await writer.write([run(run_id, 1, 10, session_id=None)])
            for start in range(0, 400, 8):
                outcomes = await asyncio.gather(*(one(n) for n in range(start, start + 8)), return_exceptions=True)
                refused = [o for o in outcomes if isinstance(o, BudgetExhausted)]
                assert all(o is None or o in refused for o in outcomes), outcomes
                if len(refused) == 8:
                    break
    print(json.dumps(sum(answered)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_spend_at_once_use_all_of_it_and_no_more(pool: asyncpg.Pool, database_url: str) -> None:
    await PostgresBudgets(pool).put("t", all_agents(tokens=1_500), "test")
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 (they are what is tested)
            [sys.executable, "-c", SPENDER, database_url, str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
    used = sum(json.loads(output) for output, _ in outputs)
    assert 1_400 <= used <= 1_500, used
    assert (await spent(pool))[account()].tokens == used
    assert await pool.fetchval("SELECT count(*) FROM budget_leases") == 0, "each gave back what it had left"

"""Which accounts a run draws on, and what of a file is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.budgets.load import InvalidBudgets, load_file
from headrace.budgets.rules import Account, Spender, accounts_of, opens_again, period_of
from headrace.messages.budget import Budget

LAST_SECOND = round(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)


def test_each_scope_has_its_account() -> None:
    budgets = [
        Budget(name="all", scope="tenant", window="month", tokens=1),
        Budget(name="each", scope="agent", window="day", tokens=1),
        Budget(name="one", scope="agent", agent="other", tokens=1),
        Budget(name="chat", scope="session", tokens=1),
        Budget(name="short", scope="run", tokens=1),
    ]
    with_session = accounts_of(budgets, Spender("t", "reviewer", "s-1", LAST_SECOND))
    assert [account for _, account in with_session] == [
        Account("t", "all", "", "2026-12"),
        Account("t", "each", "reviewer", "2026-12-31"),
        Account("t", "chat", "s-1", "total"),
    ]
    without = accounts_of(budgets, Spender("t", "other", None, LAST_SECOND))
    assert [account.budget for _, account in without] == ["all", "each", "one"]


def test_a_window_opens_at_midnight_utc() -> None:
    assert period_of("day", LAST_SECOND + 1_000) == "2027-01-01"
    assert opens_again("day", LAST_SECOND) == opens_again("month", LAST_SECOND) == datetime(2027, 1, 1, tzinfo=UTC)
    assert opens_again("total", LAST_SECOND) is None


def test_a_file_holds_one_budget_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "budgets.yaml"
    file.write_text("name: all\nscope: tenant\nusd: 5\n")
    assert load_file(file) == [Budget(name="all", scope="tenant", usd=5.0)]
    file.write_text(
        "- {name: all, scope: tenant, usd: 5}\n- {name: chat, scope: session, agent: assistant, tokens: 10}\n"
    )
    assert [budget.name for budget in load_file(file)] == ["all", "chat"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, scope: tenant}", "1: a budget needs tokens, usd, or both"),
        ("- {name: a, scope: run, usd: 1}\n- {name: b, scope: team, usd: 1}", "2: Invalid enum value 'team'"),
        ("- {name: a, scope: run, window: day, usd: 1}", "leave window out"),
        ("- {name: a, scope: tenant, agent: x, usd: 1}", "use the scope agent"),
        ("- {name: a, scope: run, dollars: 1}", "/dollars: unknown field"),
        ("- {name: a, scope: run, tokens: 0}", "`int` >= 1"),
        ("- {name: a, scope: run, usd: 1}\n- {name: a, scope: run, usd: 2}", "two budgets are called a"),
        ("nothing", "a mapping of fields"),
        ("- {name: a\n", "did not find expected"),
    ],
)
def test_what_is_no_budget_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.yaml"
    file.write_text(text)
    with pytest.raises(InvalidBudgets, match=r"budgets\.yaml") as refused:
        load_file(file)
    assert said in str(refused.value)

"""Budgets, accounts and leases in Postgres: what is set, what is spent, and who holds what of the rest.

An account's row is locked while a lease of it is worked out. Persistence adds to the same row when it files runs, so what is
spent and which turns are filed are read as of one moment.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from headrace.budgets.lease import granted, still_held
from headrace.budgets.rules import UNLIMITED, ZERO, Account, Amount
from headrace.budgets.spending import Asked, Renewed
from headrace.messages.budget import Budget
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

_COUNT_S: Final = 600.0
_MAX_ACCOUNTS: Final = 1_000
_COLUMNS: Final = 'tenant, name, scope, agent, "window", tokens, usd'
_ALL: Final = f"SELECT {_COLUMNS} FROM budgets ORDER BY tenant, name"  # noqa: S608 (constants)
_SET: Final = """
INSERT INTO budgets (tenant, name, scope, agent, "window", tokens, usd, changed_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant, name) DO UPDATE SET scope = excluded.scope, agent = excluded.agent, "window" = excluded."window",
    tokens = excluded.tokens, usd = excluded.usd, changed_by = excluded.changed_by, changed_at = now()
"""
_REMOVE: Final = "DELETE FROM budgets WHERE tenant = $1 AND name = $2 RETURNING true"
_FORGET_ACCOUNTS: Final = "DELETE FROM budget_accounts WHERE tenant = $1 AND budget = $2"
_FORGET_LEASES: Final = "DELETE FROM budget_leases WHERE tenant = $1 AND budget = $2"
_COUNT: Final = """
INSERT INTO budget_accounts (tenant, budget, subject, period, tokens, nano)
SELECT runs.tenant, drawn.budget, drawn.subject, drawn.period,
    sum(budget_tokens(input_tokens, output_tokens)), sum(budget_nano(cost_usd))
FROM runs, budget_accounts_of(runs.tenant, agent_name, session_id, created_at) AS drawn
WHERE runs.tenant = $1 AND drawn.budget = $2
    AND created_at >= CASE $3::text WHEN 'total' THEN '-infinity'::timestamptz ELSE date_trunc($3::text, now(), 'UTC') END
GROUP BY 1, 2, 3, 4
"""
_LOCK_ACCOUNTS: Final = """
INSERT INTO budget_accounts AS account (tenant, budget, subject, period)
SELECT given.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (tenant, budget, subject, period)
JOIN budgets ON budgets.tenant = given.tenant AND budgets.name = given.budget
ORDER BY 1, 2, 3, 4
ON CONFLICT (tenant, budget, subject, period) DO UPDATE SET tokens = account.tokens
RETURNING tenant, budget, subject, period, tokens, nano
"""
_OTHERS: Final = """
SELECT tenant, budget, subject, period, sum(lease.tokens)::bigint AS tokens, sum(lease.nano)::bigint AS nano
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (tenant, budget, subject, period)
JOIN budget_leases AS lease USING (tenant, budget, subject, period)
WHERE holder <> $5 AND expires_at > now()
GROUP BY tenant, budget, subject, period
"""
_FILED: Final = """
SELECT tenant, run_id, model_calls FROM unnest($1::text[], $2::text[]) AS given (tenant, run_id) JOIN runs USING (tenant, run_id)
WHERE model_calls > 0
"""
_LEASE: Final = """
INSERT INTO budget_leases (tenant, budget, subject, period, holder, tokens, nano, expires_at)
SELECT given.tenant, given.budget, given.subject, given.period, $7, given.tokens, given.nano, now() + $8::interval
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    AS given (tenant, budget, subject, period, tokens, nano)
ON CONFLICT (tenant, budget, subject, period, holder)
DO UPDATE SET tokens = excluded.tokens, nano = excluded.nano, expires_at = excluded.expires_at
"""
_OVER: Final = """
DELETE FROM budget_leases AS lease
USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (tenant, budget, subject, period)
WHERE lease.tenant = given.tenant AND lease.budget = given.budget AND lease.subject = given.subject
    AND lease.period = given.period AND (lease.expires_at < now() OR (lease.holder = $5 AND lease.tokens = 0 AND lease.nano = 0))
"""
_SPENT: Final = """
SELECT account.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given (tenant, budget, subject, period)
JOIN budget_accounts AS account USING (tenant, budget, subject, period)
"""
_USAGE: Final = """
SELECT account.*, coalesce(held.tokens, 0)::bigint AS held_tokens, coalesce(held.nano, 0)::bigint AS held_nano
FROM budget_accounts AS account JOIN budgets ON budgets.tenant = account.tenant AND budgets.name = account.budget
LEFT JOIN LATERAL (
    SELECT sum(lease.tokens) AS tokens, sum(lease.nano) AS nano FROM budget_leases AS lease
    WHERE (lease.tenant, lease.budget, lease.subject, lease.period)
        = (account.tenant, account.budget, account.subject, account.period) AND lease.expires_at > now()
) AS held ON true
WHERE account.tenant = $1 AND ($2::text IS NULL OR account.budget = $2) AND account.period = CASE budgets."window"
    WHEN 'day' THEN to_char($3::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD')
    WHEN 'month' THEN to_char($3::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM') ELSE 'total' END
ORDER BY account.budget, account.tokens DESC, account.nano DESC, account.subject LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class AccountUse:
    """One account now: what is spent, and what processes hold beyond it."""

    account: Account
    spent: Amount
    held: Amount


class PostgresBudgets:
    """On a pool; ``holder`` is this process. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, holder: uuid.UUID | None = None) -> None:
        self._pool = pool
        self._holder = holder or uuid.uuid4()

    async def all(self) -> dict[str, tuple[Budget, ...]]:
        """The budgets of each tenant, by name."""
        with translated():
            rows = await self._pool.fetch(_ALL)
        found: dict[str, list[Budget]] = {}
        for row in rows:
            values = dict(row)
            found.setdefault(values.pop("tenant"), []).append(Budget(**values))
        return {tenant: tuple(budgets) for tenant, budgets in found.items()}

    async def put(self, tenant: str, budget: Budget, changed_by: str) -> None:
        """Set a budget, and count anew what is spent of it in its present window (all time of ``total``)."""
        values = (budget.scope, budget.agent, budget.window, budget.tokens, budget.usd, changed_by)
        whose = storable_text(tenant), budget.name
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT budget_lock(false)", timeout=_COUNT_S)
                await connection.execute(_SET, *whose, *values)
                await connection.execute(_FORGET_ACCOUNTS, *whose)
                await connection.execute(_COUNT, *whose, budget.window, timeout=_COUNT_S)

    async def remove(self, tenant: str, name: str) -> bool:
        """Whether there was such a budget."""
        whose = storable_text(tenant), name
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT budget_lock(false)", timeout=_COUNT_S)
                found = await connection.fetchval(_REMOVE, *whose)
                await connection.execute(_FORGET_ACCOUNTS, *whose)
                await connection.execute(_FORGET_LEASES, *whose)
        return found is not None

    async def usage(self, tenant: str, budget: str | None, now: datetime) -> list[AccountUse]:
        """The accounts of the present windows, those that have used most first; at most 1,000."""
        with translated():
            rows = await self._pool.fetch(_USAGE, storable_text(tenant), budget, now, _MAX_ACCOUNTS)
        return [AccountUse(_account(row), _amount(row), Amount(row["held_tokens"], row["held_nano"])) for row in rows]

    async def spent(self, accounts: Sequence[Account]) -> dict[Account, Amount]:
        """What is spent of these; those that nothing was spent of are not in it."""
        with translated(), encoding():
            rows = await self._pool.fetch(_SPENT, *_columns(accounts))
        return {_account(row): _amount(row) for row in rows}

    async def renew(self, asked: Sequence[Asked], lease_s: float) -> list[Renewed]:
        """As ``spending.Bank``: a lease of each account for ``lease_s`` seconds, in place of the one that this process had."""
        if not asked:
            return []
        accounts = [one.account for one in asked]
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                spent = _by_account(await connection.fetch(_LOCK_ACCOUNTS, *_columns(accounts)))
                others = _by_account(await connection.fetch(_OTHERS, *_columns(accounts), self._holder))
                filed = await self._filed(connection, asked)
                renewed = [_renewed(one, spent, others, filed) for one in asked]
                leased = [(one.account, new.granted) for one, new in zip(asked, renewed, strict=True)]
                amounts = [
                    [_stored(part) for part in unit] for unit in zip(*(amount for _, amount in leased), strict=True)
                ]
                await connection.execute(
                    _LEASE, *_columns(accounts), *amounts, self._holder, timedelta(seconds=lease_s)
                )
                await connection.execute(_OVER, *_columns(accounts), self._holder)
        return renewed

    async def _filed(
        self, connection: asyncpg.pool.PoolConnectionProxy, asked: Sequence[Asked]
    ) -> dict[str, dict[str, int]]:
        """By tenant and run: how many of its model calls are in the index."""
        runs = sorted({(one.account.tenant, turn.run_id) for one in asked for turn in one.turns})
        found: dict[str, dict[str, int]] = {}
        if runs:
            names = {storable_text(run_id): run_id for _, run_id in runs}
            tenants = [storable_text(tenant) for tenant, _ in runs]
            for row in await connection.fetch(_FILED, tenants, [storable_text(run_id) for _, run_id in runs]):
                found.setdefault(row["tenant"], {})[names[row["run_id"]]] = row["model_calls"]
        return found


def _renewed(
    one: Asked,
    spent: Mapping[Account, Amount],
    others: Mapping[Account, Amount],
    filed: Mapping[str, Mapping[str, int]],
) -> Renewed:
    account = _stored_account(one.account)
    if account not in spent:  # the budget was removed a moment ago
        return Renewed(one.held.plus(one.wanted), ZERO, {})
    of_tenant = filed.get(account.tenant, {})
    held = still_held(one.held, one.turns, of_tenant)
    lease = granted(one.limit, spent[account], others.get(account, ZERO), held, one.wanted)
    return Renewed(lease, spent[account], {turn.run_id: of_tenant.get(turn.run_id, 0) for turn in one.turns})


def _stored(part: int) -> int:
    """A unit that the budget has no limit in is not held either."""
    return 0 if part >= UNLIMITED else part


def _stored_account(account: Account) -> Account:
    return Account(*(storable_text(part) for part in account))


def _columns(accounts: Sequence[Account]) -> list[list[str]]:
    return [[storable_text(part) for part in column] for column in zip(*accounts, strict=True)]


def _by_account(rows: Sequence[asyncpg.Record]) -> dict[Account, Amount]:
    return {_account(row): _amount(row) for row in rows}


def _account(row: Any) -> Account:
    return Account(row["tenant"], row["budget"], row["subject"], row["period"])


def _amount(row: Any) -> Amount:
    return Amount(row["tokens"], row["nano"])

"""``headrace auth``: who may use the gateway's API. It works on the database and by the secret, not through the gateway."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.auth import MAX_NAME, MAX_OWNERS, Refused, keys, role_of, tokens, utc_now
from headrace.auth.settings import MAX_TOKEN_MINUTES, AuthSettings
from headrace.auth.store import AuthStore, StoredKey
from headrace.cli.output import note, print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

app = App(name="auth", help="Credentials of the API: keys and tokens.", help_format="markdown")
key_commands = App(name="keys", help="API keys: they count until they expire or are revoked.", help_format="markdown")
token_commands = App(name="token", help="Tokens (JWT): they count for minutes.", help_format="markdown")
app.command(key_commands)
app.command(token_commands)

RoleName = Literal["admin", "developer", "viewer"]
Name = Annotated[str, Parameter(validator=lambda _, text: _check_name(text))]
Owners = Annotated[tuple[str, ...], Parameter(name="--owner", validator=lambda _, names: _check_owners(names))]
_NOWHERE: Final = Target()
_ANYBODY: Final = "(anybody)"
_COLUMNS: Final = ("key", "name", "role", "owners", "state", "created", "expires")


@key_commands.command
def create(
    *,
    name: Name,
    role: RoleName,
    owner: Owners = (),
    any_owner: Annotated[bool, Parameter(negative="")] = False,
    days: Annotated[int | None, Parameter(validator=Number(gte=1, lte=3650))] = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Make an API key and show it, this once: only a digest of it is kept.

    Example: `headrace auth keys create --name ci --role developer --owner shop-team --days 90`

    Parameters
    ----------
    name
        What it is for.
    role
        viewer reads; developer also sends events and runs agents; admin may do everything.
    owner
        Whom it may speak for, once for each: the owners of workflows that it stores and changes, the users of runs that it
        starts. Without any that is its name alone. An admin may speak for anybody.
    any_owner
        It may speak for anybody, as a service may that has users of its own and knows who asks.
    days
        Days until it expires; by default never.
    json
        Print JSON.
    """
    pepper = AuthSettings().secrets()[0]
    settings = target.settings(kafka=False)
    key_id, key = keys.new_key()
    now = utc_now()
    stored = StoredKey(
        key_id,
        settings.tenant,
        name,
        role_of(role),
        keys.digest(key, pepper),
        created_at=now,
        expires_at=now + timedelta(days=days) if days else None,
        owners=_owners(owner, name, role, anybody=any_owner),
    )

    async def add() -> None:
        async with _store(settings) as store:
            await store.add_key(stored)

    run_async(add())
    facts = {"id": key_id, "tenant": stored.tenant, "name": name, "role": role, "owners": _names(stored.owners)}
    _print({**facts, "expires_at": stored.expires_at, "key": key}, json)
    note("keep the key now: it is not shown again")


@key_commands.command(name="list")
def list_(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The API keys of this tenant, newest first; never the keys themselves.

    Example: `headrace auth keys list --json`

    Parameters
    ----------
    json
        Print JSON.
    """
    settings = target.settings(kafka=False)

    async def read() -> list[StoredKey]:
        async with _store(settings) as store:
            return await store.keys(settings.tenant)

    found = run_async(read())
    now = utc_now()
    if json:
        print_json([_facts(key, now) for key in found])
        return
    rows = [
        (
            k.key_id,
            k.name,
            str(k.role),
            _ANYBODY if k.owners is None else ", ".join(sorted(k.owners)),
            _state(k, now),
            k.created_at,
            k.expires_at,
        )
        for k in found
    ]
    print_table(_COLUMNS, rows, empty="no keys", whole=("key", "state"), spare=("created",))


@key_commands.command
def revoke(key: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Revoke an API key. Gateways refuse it at their next look, within HEADRACE_AUTH_CACHE_S (2 s).

    Exits with 4 if there is no such key.

    Example: `headrace auth keys revoke 0f3a9c5e71b2d480`

    Parameters
    ----------
    key
        Its id, as `headrace auth keys list` shows it.
    json
        Print JSON.
    """
    settings = target.settings(kafka=False)

    async def end() -> bool:
        async with _store(settings) as store:
            return await store.revoke_key(settings.tenant, key, utc_now())

    if not run_async(end()):
        raise stop("no key of this tenant has that id (`headrace auth keys list`)", 4)
    _print({"revoked": key}, json)


@token_commands.command
def issue(
    *,
    subject: Name,
    role: RoleName,
    owner: Owners = (),
    any_owner: Annotated[bool, Parameter(negative="")] = False,
    minutes: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_TOKEN_MINUTES))] = tokens.DEFAULT_MINUTES,
    json: JsonFlag = False,
) -> None:
    """Issue a token, signed with the first secret of HEADRACE_AUTH_SECRET, for the tenant of HEADRACE_TENANT.

    Example: `headrace auth token issue --subject alice --role viewer --minutes 30`

    Parameters
    ----------
    subject
        Who it is for.
    role
        viewer reads; developer also sends events and runs agents; admin may do everything.
    owner
        Whom it may speak for, as with `headrace auth keys create`; without any its subject alone.
    any_owner
        It may speak for anybody.
    minutes
        How long it counts.
    json
        Print JSON.
    """
    secret, tenant = AuthSettings().secrets()[0], MeshSettings().tenant
    owners = _owners(owner, subject, role, anybody=any_owner)
    token, principal = tokens.issue(
        secret, tenant=tenant, role=role_of(role), subject=subject, now=utc_now(), minutes=minutes, owners=owners
    )
    facts = {"id": principal.id, "tenant": tenant, "subject": subject, "role": role, "owners": _names(owners)}
    _print({**facts, "expires_at": principal.expires_at, "token": token}, json)


@token_commands.command(name="revoke")
def revoke_token(
    token: Annotated[str, Parameter(allow_leading_hyphen=True)], *, target: Target = _NOWHERE, json: JsonFlag = False
) -> None:
    """Revoke a token before its end, by its id; with `-`, the token itself is read from stdin.

    Gateways refuse it at their next look, within HEADRACE_AUTH_CACHE_S (2 s).

    Example: `headrace auth token revoke 5f0c1e7d9b3a4c68a1d2e3f405162738`

    Parameters
    ----------
    token
        Its id (`jti`), as `headrace auth token issue` shows it, or `-`.
    json
        Print JSON.
    """
    now = utc_now()
    jti = _jti(sys.stdin.read().strip(), now) if token == "-" else _checked_jti(token)  # noqa: S105  # stdin
    settings = target.settings(kafka=False)

    async def end() -> None:
        async with _store(settings) as store:
            await store.revoke_token(jti, now + timedelta(minutes=MAX_TOKEN_MINUTES), now)

    run_async(end())
    _print({"revoked": jti}, json)


def _jti(token: str, now: datetime) -> str:
    try:
        return tokens.read(token, AuthSettings().secrets(), now).id
    except Refused as refused:
        raise stop(f"not a token that counts: {refused.reason}", 2) from None


def _checked_jti(text: str) -> str:
    if len(text) != 32 or not text.isalnum():
        raise stop("that is no token's id; a token itself is read from stdin: `headrace auth token revoke -`", 2)
    return text


def _check_name(text: str) -> None:
    if not (1 <= len(text) <= MAX_NAME and text.isprintable()):
        raise ValueError(f"1 to {MAX_NAME} printable characters, please")


def _check_owners(names: tuple[str, ...]) -> None:
    if len(names) > MAX_OWNERS:
        raise ValueError(f"at most {MAX_OWNERS} owners, please")
    for name in names:
        _check_name(name)


def _owners(names: tuple[str, ...], own: str, role: RoleName, *, anybody: bool) -> frozenset[str] | None:
    """Whom the credential speaks for. An admin's is not made to look as if it were bound."""
    if names and role == "admin":
        raise stop("an admin may speak for anybody: leave --owner out, or choose another role", 2)
    if names and anybody:
        raise stop("give either --owner or --any-owner", 2)
    return None if anybody or role == "admin" else frozenset(names or (own,))


def _names(owners: frozenset[str] | None) -> list[str] | None:
    return None if owners is None else sorted(owners)


@asynccontextmanager
async def _store(settings: MeshSettings) -> AsyncIterator[AuthStore]:
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        yield AuthStore(pool)


def _state(key: StoredKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


def _facts(key: StoredKey, now: datetime) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": key.key_id, "name": key.name, "role": str(key.role), "state": _state(key, now)}
    facts["owners"] = _names(key.owners)
    return {**facts, "created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at}


def _print(facts: dict[str, Any], json: bool) -> None:
    if json:
        print_json(facts)
    else:
        shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in facts.items()}
        print_facts((name, value) for name, value in shown.items() if value is not None)

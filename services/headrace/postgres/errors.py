"""What an error of Postgres means for the record that met it.

One table from SQLSTATE class to the mesh's errors, used by every adapter through ``translated``. Texts carry the state and the
names of table, column and constraint, never values: a server's DETAIL line quotes rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from headrace.messages.errors import BadMessage, DependencyUnavailable, FatalError, HeadraceError, TransientError

# SQLSTATE class (two characters) or whole state (five) -> error. The whole state goes first.
_BY_STATE: Final[dict[str, type[HeadraceError]]] = {
    "08": DependencyUnavailable,  # connection exception
    "22": BadMessage,  # data exception: out of range, not in the character repertoire, ...
    "23": BadMessage,  # integrity constraint violation
    "54": BadMessage,  # program limit exceeded: a value too large for its index or type
    "25006": DependencyUnavailable,  # read-only transaction: a standby, until failover is done
    "28": FatalError,  # invalid authorisation
    "3D": FatalError,  # no such database
    "40": TransientError,  # deadlock or serialisation failure
    "42P01": DependencyUnavailable,  # undefined table: the schema's migrations have not run yet
    "42703": DependencyUnavailable,  # undefined column: likewise
    "53": DependencyUnavailable,  # insufficient resources: disk full, too many connections
    "55P03": TransientError,  # lock not available
    "57": DependencyUnavailable,  # operator intervention: shutting down, starting up, cancelled
    "58": DependencyUnavailable,  # system error: I/O
}
_ENCODING_ERRORS = (TypeError, ValueError, OverflowError)  # a value that asyncpg or orjson can't encode


@contextmanager
def translated() -> Iterator[None]:
    """Raise the mesh's error in place of a driver's. Wrap each use of the pool in it."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise from_postgres(error) from None
    except asyncpg.exceptions.ClientConfigurationError:  # its text may quote the URL, and so the password
        raise FatalError("DATABASE_URL is not usable") from None
    except (
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:  # closed, or cut in mid-request; no data in the text
        raise DependencyUnavailable(f"Postgres: {error}") from error
    except (OSError, TimeoutError) as error:
        raise DependencyUnavailable(f"Postgres is away: {type(error).__name__}") from error


@contextmanager
def encoding() -> Iterator[None]:
    """Raise ``BadMessage`` for values that can't be sent at all. Only for statements whose arguments come from records."""
    try:
        yield
    except _ENCODING_ERRORS as error:
        if isinstance(error, OSError):
            raise
        raise BadMessage(f"a value can't be stored: {type(error).__name__}", cause="unstorable") from None


def from_postgres(error: asyncpg.PostgresError) -> HeadraceError:
    """The mesh's error for a server's."""
    state = error.sqlstate or ""
    kind = _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or TransientError
    names = [getattr(error, name, None) for name in ("table_name", "column_name", "constraint_name")]
    where = "/".join(name for name in names if name) or None
    text = f"Postgres: {type(error).__name__} (SQLSTATE {state or 'unknown'})"
    if issubclass(kind, BadMessage):
        return kind(text, cause="unstorable", where=where)
    return kind(f"{text} at {where}" if where else text)

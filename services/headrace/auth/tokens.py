"""JSON Web Tokens: HS256 and nothing else, every claim required."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from headrace.auth import MAX_NAME, MAX_OWNERS, Principal, Refused, Role, role_of
from headrace.auth.settings import MAX_TOKEN_MINUTES

ISSUER: Final = "headrace"
DEFAULT_MINUTES: Final = 60
_ALGORITHMS: Final = ["HS256"]
_CLAIMS: Final = ["iss", "aud", "sub", "iat", "exp", "jti", "tenant", "role"]


def issue(
    secret: bytes,
    *,
    tenant: str,
    role: Role,
    subject: str,
    now: datetime,
    minutes: int = DEFAULT_MINUTES,
    owners: frozenset[str] | None = None,
) -> tuple[str, Principal]:
    """A token, and who it stands for; ``owners`` as a ``Principal`` has them.

    Raises ``ValueError`` for more minutes than a day has, or fewer than one.
    """
    if not 1 <= minutes <= MAX_TOKEN_MINUTES:
        raise ValueError(f"a token lives 1 to {MAX_TOKEN_MINUTES} minutes")
    now = now.replace(microsecond=0)
    principal = Principal(uuid.uuid4().hex, tenant, role, now + timedelta(minutes=minutes), owners)
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": subject,
        "iat": now,
        "exp": principal.expires_at,
        "jti": principal.id,
        "tenant": tenant,
        "role": str(role),
    }
    if owners is not None:
        claims["owners"] = sorted(owners)
    return jwt.encode(claims, secret, algorithm="HS256"), principal


def read(token: str, secrets: Sequence[bytes], now: datetime) -> Principal:
    """Who ``token`` stands for, if one of ``secrets`` signed it and it has not expired at ``now``; revocation is not asked here.

    Raises:
        Refused: malformed, unknown or expired.
    """
    principal = _principal(_claims(token, secrets))
    assert principal.expires_at is not None
    if now >= principal.expires_at:
        raise Refused("expired")
    return principal


def _claims(token: str, secrets: Sequence[bytes]) -> dict[str, Any]:
    for secret in secrets:
        try:
            return jwt.decode(
                token,
                secret,
                algorithms=_ALGORITHMS,
                audience=ISSUER,
                issuer=ISSUER,
                options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False},  # by the caller's clock
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidTokenError:
            raise Refused("malformed") from None
    raise Refused("unknown")


def _principal(claims: dict[str, Any]) -> Principal:
    try:
        jti, tenant, role, expires = (claims[name] for name in ("jti", "tenant", "role", "exp"))
        if not all(isinstance(text, str) and 0 < len(text) <= MAX_NAME for text in (jti, tenant, role)):
            raise Refused("malformed")
        return Principal(jti, tenant, role_of(role), datetime.fromtimestamp(int(expires), UTC), _owners(claims))
    except (KeyError, ValueError, OverflowError, OSError, TypeError):
        raise Refused("malformed") from None


def _owners(claims: dict[str, Any]) -> frozenset[str] | None:
    """Whom the token speaks for. A claim that is not understood must not make it speak for everybody."""
    if "owners" not in claims:
        return None
    owners = claims["owners"]
    if not isinstance(owners, list) or len(owners) > MAX_OWNERS:
        raise Refused("malformed")
    if not all(isinstance(owner, str) and 0 < len(owner) <= MAX_NAME for owner in owners):
        raise Refused("malformed")
    return frozenset(owners)

"""How a sender can prove itself, as a source file says it. What each scheme does is in the verifier of its name."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

HEADER_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,99}$"
HeaderName = Annotated[str, Field(pattern=HEADER_NAME)]
_BODY: Final = "{body}"
_FIELD: Final = re.compile(r"\{(\w*)\}")


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Scheme(Strict):
    """``secret`` is a suffix of the source's secret variable, where one source has several kinds of secrets."""

    secret: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9-]{0,31}$")

    def signed_headers(self) -> frozenset[str]:
        """Headers whose values the proof covers."""
        return frozenset()


class Timestamp(Strict):
    """When the sender signed: in a header, or with ``item`` as an item of the signature header that begins so (Stripe's ``t=``).

    A delivery more than ``tolerance_s`` seconds from our clock, either way, is refused.
    """

    header: HeaderName | None = None
    item: str | None = Field(default=None, min_length=1, max_length=32)
    format: Literal["unix", "unix-ms", "rfc3339"] = "unix"
    tolerance_s: int = Field(default=300, ge=1, le=86_400)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.item is None):
            raise ValueError("give either header or item")
        return self


class SignatureAuth(_Scheme):
    """A signature of the raw body in a header: ``<prefix><digest>``, or with ``separator`` any number of such items.

    ``signed`` is what is signed: text with ``{timestamp}``, ``{id}`` (the value of the header that ``id`` names), and at its end
    ``{body}``. What a proof covers must be read in one way only, so each field but the last is followed by text that can't be part
    of it.
    """

    header: HeaderName
    prefix: str = Field(default="", max_length=32)
    encoding: Literal["hex", "base64"] = "hex"
    separator: Literal[",", " "] | None = None
    signed: str = Field(default=_BODY, max_length=200)
    timestamp: Timestamp | None = None
    id: HeaderName | None = None

    @field_validator("signed")
    @classmethod
    def _body_last(cls, value: str) -> str:
        if set(_FIELD.findall(value)) - {"body", "timestamp", "id"} or not value.isascii():
            raise ValueError("only {body}, {timestamp} and {id} are known")
        if value.count(_BODY) != 1 or not value.endswith(_BODY):
            raise ValueError("must end with {body}, and have it once")
        return value

    @model_validator(mode="after")
    def _read_in_one_way(self) -> Self:
        for name, given in (("timestamp", self.timestamp), ("id", self.id)):
            if self.signed.count(f"{{{name}}}") != (given is not None):
                raise ValueError(f"{name} and {{{name}}} in signed belong together")
        if self.timestamp and self.timestamp.item and self.separator is None:
            raise ValueError("a timestamp that is an item needs a separator")
        after_time = self.signed.partition("{timestamp}")[2]
        if self.timestamp and self.timestamp.format != "rfc3339" and after_time[:1] in ("", "{"):
            raise ValueError("{timestamp} must be followed by text that ends it")
        if self.id and self.id_end in ("", "{"):
            raise ValueError("{id} must be followed by text that ends it")
        return self

    @property
    def id_end(self) -> str:
        """The character that ends the id, and that no id may have."""
        return self.signed.partition("{id}")[2][:1]

    def signed_headers(self) -> frozenset[str]:
        time = self.timestamp.header if self.timestamp else None
        return frozenset(name for name in (time, self.id) if name)


class HmacAuth(SignatureAuth):
    """A keyed digest. ``key`` says how the secret is spelled: as it is, or in base64 after an optional ``whsec_``."""

    scheme: Literal["hmac"]
    algorithm: Literal["sha256", "sha512"] = "sha256"
    key: Literal["text", "base64"] = "text"


class Ed25519Auth(SignatureAuth):
    """A signature by a private key. The secret is the public one, in base64 after an optional ``whpk_``."""

    scheme: Literal["ed25519"]
    encoding: Literal["hex", "base64"] = "base64"


class SnsAuth(_Scheme):
    """Amazon SNS: signed fields of the body, by a certificate from Amazon's own hosts. The secret is the list of topics' ARNs.

    The time of publication is signed; a retry has the same, and may come an hour later.
    """

    scheme: Literal["sns"]
    tolerance_s: int = Field(default=7_200, ge=1, le=86_400)


class TokenAuth(_Scheme):
    """A shared secret: in ``Authorization`` as ``Bearer <secret>`` or as ``Basic`` of ``user:password``; in another header as it
    is; or in the query parameter ``query``, for senders that can set nothing but a URL.
    """

    scheme: Literal["token"]
    header: HeaderName = "authorization"
    query: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")


class BasicAuth(_Scheme):
    """``Authorization: Basic`` of ``user:password``, and nothing else."""

    scheme: Literal["basic"]


class ClientCertAuth(_Scheme):
    """A client certificate that a proxy in front has verified, and names in ``header`` (its fingerprint or subject).

    The secret is the list of names that may deliver. Anyone can send headers, so the proxy proves itself with a secret of its own
    in ``proxy_header`` (variable ``..._PROXY``). ``verified`` are headers that must say so, such as nginx's ``SUCCESS``.
    """

    scheme: Literal["client-cert"]
    header: HeaderName
    proxy_header: HeaderName
    verified: dict[HeaderName, str] = {}


class NoAuth(_Scheme):
    """The sender proves nothing; the operator opens such a source by name (``HEADRACE_WEBHOOK_OPEN``)."""

    scheme: Literal["none"]


Auth = Annotated[
    HmacAuth | Ed25519Auth | SnsAuth | TokenAuth | BasicAuth | ClientCertAuth | NoAuth, Field(discriminator="scheme")
]
OPENABLE: Final = (TokenAuth, BasicAuth, NoAuth)
"""Schemes of senders that sign nothing, so that an operator may choose to ask for nothing."""

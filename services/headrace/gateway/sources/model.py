"""What a source file may say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from headrace.gateway.sources.handshake_model import POINTER, Handshake
from headrace.gateway.sources.schemes import HEADER_NAME, Auth, HeaderName, Strict

_SECRET_HEADER: Final = re.compile(r"authorization|cookie|signature|token|secret|api-?key|password|hmac", re.I)


def _forwardable(name: str) -> str:
    if _SECRET_HEADER.search(name):
        raise ValueError("a header that may carry a credential or a signature can't be forwarded")
    return name


ForwardedHeader = Annotated[str, Field(pattern=HEADER_NAME), AfterValidator(_forwardable)]
Content = Literal["json", "form", "text"]
FORM: Final = "application/x-www-form-urlencoded"


class DeliveryId(Strict):
    """What names a delivery: a header (of several, the first that is there), or a place in the body (a JSON pointer).

    Where the source gives neither, or ``required`` is off and a delivery lacks it, a digest of the body names it, together with the
    values of the headers in ``digest_with``.
    """

    header: tuple[HeaderName, ...] = ()
    body: str | None = Field(default=None, pattern=POINTER)
    required: bool = True
    digest_with: tuple[HeaderName, ...] = ()

    @field_validator("header", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.header and self.body:
            raise ValueError("give either header or body")
        return self


class EventType(Strict):
    """The header that must name the event's type. Absent: the type is in the body, which the gateway does not read."""

    header: HeaderName | None = None


class SourceConfig(Strict):
    """One sender.

    ``auth`` is a scheme, or several in order: a delivery is judged by the first that is configured and that it has something for.
    ``headers`` are the only HTTP headers of it that enter the record. Headers that no signature covers count only where
    ``trust_headers`` says so. ``content`` is what it sends: JSON, forms (kept as they are), or JSON that is called text/plain.
    ``answer_within_s`` is its patience; ``retries_429`` says that it is known to send again after a 429. ``max_per_s`` bounds its
    deliveries (0: no bound; by default the setting for all sources). ``setup`` says what to set at the sender.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    description: str = Field(min_length=1, max_length=500)
    setup: str = Field(default="", max_length=1_000)
    auth: tuple[Auth, ...] = Field(min_length=1, max_length=8)
    trust_headers: bool = False
    delivery_id: DeliveryId = DeliveryId()
    event_type: EventType = EventType()
    headers: tuple[ForwardedHeader, ...] = ()
    content: tuple[Content, ...] = ("json",)
    handshakes: tuple[Handshake, ...] = ()
    answer_within_s: float | None = Field(default=None, gt=0, le=60)
    retries_429: bool = False
    max_per_s: float | None = Field(default=None, ge=0)
    hint: str | None = Field(
        default=None, max_length=300, description="Said to a sender whose content type is not JSON"
    )

    @field_validator("auth", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _headers_are_vouched_for(self) -> Self:
        signed = frozenset.intersection(*(auth.signed_headers() for auth in self.auth))
        id_headers = {*self.delivery_id.header, *self.delivery_id.digest_with}
        named = {*self.headers, *id_headers, *filter(None, [self.event_type.header])}
        if (unsigned := sorted(named - signed)) and not self.trust_headers:
            raise ValueError(f"no signature covers {', '.join(unsigned)}: say trust_headers: true to use them anyway")
        return self

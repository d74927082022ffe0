"""What a source file may say."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_SECRET_HEADER: Final = re.compile(r"authorization|cookie|signature|token|secret|api-?key|password", re.I)
_HEADER_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,99}$"


def _forwardable(name: str) -> str:
    if _SECRET_HEADER.search(name):
        raise ValueError("a header that may carry a credential or a signature can't be forwarded")
    return name


HeaderName = Annotated[str, Field(pattern=_HEADER_NAME)]
ForwardedHeader = Annotated[HeaderName, AfterValidator(_forwardable)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HmacAuth(_Strict):
    """A keyed digest of the raw body in a header: ``<prefix><digest>``."""

    scheme: Literal["hmac"]
    algorithm: Literal["sha256", "sha512"] = "sha256"
    header: HeaderName
    prefix: str = Field(default="", max_length=32)
    encoding: Literal["hex", "base64"] = "hex"


class TokenAuth(_Strict):
    """A shared secret in ``Authorization``: ``Bearer <secret>``, or ``Basic`` where the secret is ``user:password``."""

    scheme: Literal["token"]


class NoAuth(_Strict):
    """The sender proves nothing; the operator opens such a source by name (``HEADRACE_WEBHOOK_OPEN``)."""

    scheme: Literal["none"]


class DeliveryId(_Strict):
    """What names a delivery: the sender's header, or where it has none, a digest of the body (``header`` absent)."""

    header: HeaderName | None = None


class EventType(_Strict):
    """The header that must name the event's type. Absent: the type is in the body, which the gateway does not read."""

    header: HeaderName | None = None


class SourceConfig(_Strict):
    """One sender. ``headers`` are the only HTTP headers of it that enter the record."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    description: str = Field(min_length=1, max_length=500)
    auth: HmacAuth | TokenAuth | NoAuth = Field(discriminator="scheme")
    delivery_id: DeliveryId = DeliveryId()
    event_type: EventType = EventType()
    headers: tuple[ForwardedHeader, ...] = ()
    hint: str | None = Field(
        default=None, max_length=300, description="Said to a sender whose content type is not JSON"
    )
